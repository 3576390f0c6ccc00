// Package hostname reads the names by which Istio, Envoy and DNS know Services: hosts of Istio's objects, wildcards, names
// that a client's search list builds, server names, and addresses. It knows nothing of fences.
package hostname
