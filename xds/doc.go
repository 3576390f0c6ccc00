// Package xds asks istiod what it would send a proxy, and follows every connection that is meant for a fenced host.
//
// [Client.Fetch] subscribes as Envoy does, as the sidecar or the gateway that a [Proxy] describes. The rest is pure: a
// [Resolver] answers what such a proxy does with one connection, in the order that Envoy documents, and [Verify] says for
// each host whether a connection that is meant for it, or a path that names it, leaves the client's cluster.
//
// What istiod says is all that is known here: an endpoint's metadata names the cluster whose API server holds it,
// whatever its address (rows D1, E1 and E2 of docs/catalogue.md). With [Addresses] the two are compared.
package xds
