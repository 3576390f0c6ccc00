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
	judged := r.judged(cluster, p, path.Via)
	return []Outcome{{Path: path, Verdict: judged.verdict, Endpoints: judged.endpoints, Reason: judged.reason, Open: judged.open}}
}

// aggregated returns the clusters that one stands for.
func aggregated(cluster *clusterv3.Cluster) []string {
	var config aggregatev3.ClusterConfig
	if given := cluster.GetClusterType().GetTypedConfig(); given.MessageIs(&config) && given.UnmarshalTo(&config) == nil {
		return config.GetClusters()
	}
	return nil
}

// judged is a pool with what it comes to.
type judged struct {
	pool
	verdict Verdict
	reason  string
}

// judged returns the endpoints of a cluster; that of one with the original destination is the address that the client
// has dialled.
func (r *Resolver) judged(cluster *clusterv3.Cluster, p Probe, via string) judged {
	if dialled(cluster) {
		return r.sentence(cluster.GetName(), via, pool{endpoints: []Endpoint{{Address: p.Address.String(), Cluster: r.place(p.Address.Addr())}}})
	}
	key := via + " " + cluster.GetName()
	found, ok := r.pools[key]
	if !ok {
		found = r.sentence(cluster.GetName(), via, r.judge.pool(cluster.GetName()))
		r.pools[key] = found
	}
	return found
}

// dialled reports whether a cluster sends to whatever address the client has dialled.
func dialled(cluster *clusterv3.Cluster) bool {
	return cluster.GetClusterType() == nil && cluster.GetType() == clusterv3.Cluster_ORIGINAL_DST &&
		!cluster.GetOriginalDstLbConfig().GetUseHttpHeader()
}

// sentence judges what a cluster leads to.
func (r *Resolver) sentence(name, via string, pool pool) judged {
	var away []Endpoint
	for _, endpoint := range pool.endpoints {
		if endpoint.Cluster != r.judge.own {
			away = append(away, endpoint)
		}
	}
	known := slices.ContainsFunc(away, func(e Endpoint) bool { return e.Cluster != Unknown })
	switch {
	case pool.open != "":
		return judged{pool, Unclear, pool.open}
	case via == viaTunnel:
		return judged{pool, Unclear, behindTunnel}
	case len(pool.endpoints) == 0:
		return judged{pool, Nowhere, "cluster " + name + " has no endpoint"}
	case known:
		return judged{pool, Leaves, reason(away)}
	case len(away) > 0:
		return judged{pool, Unclear, reason(away)}
	}
	return judged{pool, Stays, ""}
}

// place returns the cluster that an address is in, by the ranges that are known and by the metadata of an endpoint
// that has it; where the two disagree, the one that is not the client's. The address of a Service is in the client's,
// whoever has an endpoint there: kube-proxy sends what comes to it to local endpoints.
func (r *Resolver) place(address netip.Addr) string {
	address = address.Unmap()
	if r.placed == nil {
		r.placed = r.endpointPlaces()
	}
	byAddress, byEndpoint := r.judge.addresses.cluster(address.String()), r.placed[address]
	if r.judge.services[address] {
		byEndpoint = r.judge.own
	}
	for _, cluster := range []string{byAddress, byEndpoint} {
		if cluster != "" && cluster != r.judge.own {
			return cluster
		}
	}
	if byAddress != "" || byEndpoint != "" {
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
