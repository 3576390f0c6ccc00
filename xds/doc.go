// Package xds asks istiod what it would send a proxy, and follows every path of that configuration which ends at a
// fenced host.
//
// [Client.Fetch] subscribes as Envoy does, as the sidecar or the gateway that a [Proxy] describes. [Verify] is pure:
// it walks the [Snapshot] and says for each host whether a path leaves the client's cluster.
//
// What istiod says is all that is known here: an endpoint's metadata names the cluster whose API server holds it,
// whatever its address (rows D1, E1 and E2 of the catalogue). With [Addresses] the two are compared.
package xds
