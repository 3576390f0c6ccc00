// Package neighbours runs the real code of what shares a cluster with meshfence: Argo CD's diff and apply, Flux's
// server-side apply, Helm 3 and 4, the Istio routers of Argo Rollouts and Flagger. It is a module of its own, so that
// none of them gets into the product's go.mod.
package neighbours
