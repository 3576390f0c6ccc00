package xds

import (
	"net/netip"
	"slices"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
)

// maxNested bounds how deep aggregate clusters are followed; Envoy wants no circles.
const maxNested = 8

// cluster follows a connection that is sent to a cluster.
func (r *Resolver) cluster(path Path, p Probe, depth int) []Outcome {
	cluster := r.snapshot.Clusters[path.Cluster]
	if cluster == nil {
		return []Outcome{{Path: path, Verdict: Nowhere, Reason: "cluster " + path.Cluster + " does not exist"}}
	}
	if names := aggregated(cluster); len(names) > 0 && depth < maxNested {
		var outcomes []Outcome
		for _, name := range names {
			path.Cluster = name
			outcomes = append(outcomes, r.cluster(path, p, depth+1)...)
		}
		return outcomes
	}
	return []Outcome{r.outcome(path, r.poolOf(cluster, p))}
}

// aggregated returns the clusters that one stands for.
func aggregated(cluster *clusterv3.Cluster) []string {
	var config aggregatev3.ClusterConfig
	if given := cluster.GetClusterType().GetTypedConfig(); given.MessageIs(&config) && given.UnmarshalTo(&config) == nil {
		return config.GetClusters()
	}
	return nil
}

// poolOf returns the endpoints of a cluster; that of one with the original destination is the address that the
// client has dialled.
func (r *Resolver) poolOf(cluster *clusterv3.Cluster, p Probe) pool {
	dialled := cluster.GetClusterType() == nil && cluster.GetType() == clusterv3.Cluster_ORIGINAL_DST
	if dialled && !cluster.GetOriginalDstLbConfig().GetUseHttpHeader() {
		return pool{endpoints: []Endpoint{{Address: p.Address.String(), Cluster: r.place(p.Address.Addr())}}}
	}
	found, ok := r.pools[cluster.GetName()]
	if !ok {
		found = r.judge.pool(cluster.GetName())
		r.pools[cluster.GetName()] = found
	}
	return found
}

// outcome judges what a path leads to.
func (r *Resolver) outcome(path Path, pool pool) Outcome {
	outcome := Outcome{Path: path, Verdict: Stays, Endpoints: pool.endpoints}
	var away []Endpoint
	for _, endpoint := range pool.endpoints {
		if endpoint.Cluster != r.judge.own {
			away = append(away, endpoint)
		}
	}
	known := slices.ContainsFunc(away, func(e Endpoint) bool { return e.Cluster != Unknown })
	switch {
	case pool.open != "":
		outcome.Verdict, outcome.Reason = Unclear, pool.open
	case path.Via == viaTunnel:
		outcome.Verdict, outcome.Reason = Unclear, behindTunnel
	case len(pool.endpoints) == 0:
		outcome.Verdict, outcome.Reason = Nowhere, "cluster "+path.Cluster+" has no endpoint"
	case known:
		outcome.Verdict, outcome.Reason = Leaves, reason(away)
	case len(away) > 0:
		outcome.Verdict, outcome.Reason = Unclear, reason(away)
	}
	return outcome
}

// place returns the cluster that an address is in, by the ranges that are known and by the metadata of an endpoint
// that has it; where the two disagree, the one that is not the client's. The address of a Service is in the client's:
// kube-proxy sends what comes there to local endpoints.
func (r *Resolver) place(address netip.Addr) string {
	address = address.Unmap()
	if r.placed == nil {
		r.placed = r.endpointPlaces()
	}
	byAddress, byEndpoint := r.judge.addresses.cluster(address.String()), r.placed[address]
	for _, cluster := range []string{byAddress, byEndpoint} {
		if cluster != "" && cluster != r.judge.own {
			return cluster
		}
	}
	if byAddress != "" || byEndpoint != "" || r.judge.services[address] {
		return r.judge.own
	}
	return Unknown
}

// endpointPlaces reads the metadata of all endpoints.
func (r *Resolver) endpointPlaces() map[netip.Addr]string {
	places := map[netip.Addr]string{}
	for _, assignment := range r.snapshot.Endpoints {
		for _, locality := range assignment.GetEndpoints() {
			for _, endpoint := range locality.GetLbEndpoints() {
				host, _ := address(endpoint)
				ip, err := netip.ParseAddr(host)
				cluster := metadataCluster(endpoint.GetMetadata())
				if err == nil && cluster != "" && (places[ip] == "" || cluster != r.judge.own) {
					places[ip] = cluster
				}
			}
		}
	}
	return places
}
