package xds

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// behindTunnel is why nobody can tell where a tunnel ends.
const behindTunnel = "a tunnel: what is behind its other end is out of sight"

// Result is the verdict on one host for one client.
type Result string

const (
	// Held says that no path leaves the client's cluster, and that something there is ready.
	Held Result = "held"
	// Empty says that no path leaves, and that nothing in the client's cluster is ready: calls fail, or for a host
	// whose fence is prefer, fail over.
	Empty Result = "empty"
	// Leaks says that a path leaves.
	Leaks Result = "leaks"
)

// Report is the verdict on one host for one client, with its reasons.
type Report struct {
	Host  string `json:"host"`
	Fence string `json:"fence"`
	// Cluster and Kind are the client's.
	Cluster string `json:"cluster"`
	Kind    Kind   `json:"kind"`
	Result  Result `json:"result"`
	// Known says that istiod gives this client a cluster or a path of the host. Where it does not, nothing of the
	// mesh leads there, and Result is empty.
	Known bool `json:"known"`
	// Leaks are the paths that leave.
	Leaks []Leak `json:"leaks"`
	// Unrouted are the clusters that would leave, if something used them by name; no path leads there.
	Unrouted []Leak `json:"unrouted"`
	// Failover are the other clusters that a host whose fence is prefer may fail over to, sorted.
	Failover []string `json:"failover"`
	// Notes are what cannot be judged, and what else a person should know.
	Notes []string `json:"notes"`
}

// Leak is one path that leaves the client's cluster.
type Leak struct {
	Path
	// Endpoints are those that it leaves to; none where Reason says why that is open.
	Endpoints []Endpoint `json:"endpoints"`
	Reason    string     `json:"reason"`
}

// Rules say how to judge.
type Rules struct {
	// Addresses tell the cluster of an endpoint whose metadata does not, and are compared with that which does. An
	// endpoint that neither places counts as a leak: nobody can say that it is local.
	Addresses Addresses
	// Services are the addresses of Services: what comes there is sent to the client's own cluster, by kube-proxy.
	Services map[netip.Addr]bool
	// ByName judges clusters that no path leads to like all others. They always are where no path leads to the host.
	ByName bool
}

// Verify follows every path of a snapshot to the hosts given and reports on each, in their order.
func Verify(s *Snapshot, hosts []Host, rules Rules) []Report {
	names := newFenced(hosts)
	v := verifier{
		paths: follow(s, names),
		judge: judge{own: s.Proxy.Cluster, addresses: rules.Addresses, snapshot: s},
		rules: rules,
	}
	reports := make([]Report, len(hosts))
	for i, host := range hosts {
		reports[i] = v.report(host)
	}
	return reports
}

type verifier struct {
	paths *paths
	judge judge
	rules Rules
}

func (v verifier) report(host Host) Report {
	proxy := v.judge.snapshot.Proxy
	report := Report{
		Host: host.FQDN, Fence: host.Fence.String(), Cluster: proxy.Cluster, Kind: proxy.Kind,
		Leaks: []Leak{}, Unrouted: []Leak{}, Failover: []string{},
		Notes: append(append([]string{}, v.paths.notes[host.FQDN]...), v.paths.notes[""]...),
	}
	routed, unrouted := v.paths.found[host.FQDN], v.paths.unrouted(host.FQDN)
	report.Known = len(routed)+len(unrouted) > 0
	failover := map[string]bool{}
	ready := false
	for _, path := range routed {
		verdict := v.verdict(host, path)
		ready = ready || verdict.ready
		maps.Copy(failover, verdict.failover)
		report.Leaks = append(report.Leaks, verdict.leaks...)
		if path.Cluster != "" && v.judge.snapshot.Clusters[path.Cluster] == nil {
			report.Notes = append(report.Notes, fmt.Sprintf("%s leads to %s, which does not exist: calls fail", path.at(), path.Cluster))
		}
	}
	// Where nothing leads to the host, its clusters are all that can be judged.
	byName := v.rules.ByName || len(routed) == 0
	for _, path := range unrouted {
		verdict := v.verdict(host, path)
		if !byName {
			report.Unrouted = append(report.Unrouted, verdict.leaks...)
			continue
		}
		ready = ready || verdict.ready
		maps.Copy(failover, verdict.failover)
		report.Leaks = append(report.Leaks, verdict.leaks...)
	}
	report.Leaks = append(report.Leaks, v.nameTable(host)...)
	report.Failover = slices.AppendSeq(report.Failover, maps.Keys(failover))
	slices.Sort(report.Failover)
	switch {
	case !report.Known:
		report.Notes = append(report.Notes, "istiod gives this client no path to the host and no cluster of it; "+
			"where the mesh lets unknown traffic pass, calls go to the address that the client dials")
	case len(routed) == 0:
		report.Notes = append(report.Notes, "no listener leads to the host: its clusters are judged as if something used them by name")
	}
	switch {
	case len(report.Leaks) > 0:
		report.Result = Leaks
	case ready:
		report.Result = Held
	default:
		report.Result = Empty
	}
	return report
}

// at names where a path leads to its cluster.
func (p Path) at() string {
	if p.Route != "" {
		return "route " + p.Route
	}
	return "listener " + p.Listener
}

// verdict is what one path does.
type verdict struct {
	leaks    []Leak
	ready    bool            // an endpoint of the own cluster takes traffic
	failover map[string]bool // clusters that prefer allows
}

func (v verifier) verdict(host Host, path Path) verdict {
	pool := v.judge.pool(path.Cluster)
	if pool.open != "" {
		return verdict{leaks: []Leak{{Path: path, Endpoints: []Endpoint{}, Reason: pool.open}}}
	}
	if path.Via == viaTunnel {
		return verdict{leaks: []Leak{{Path: path, Endpoints: pool.endpoints, Reason: behindTunnel}}}
	}
	first, ready := firstLocal(pool.endpoints, v.judge.own)
	result := verdict{ready: ready, failover: map[string]bool{}}
	var leaving []Endpoint
	for _, endpoint := range pool.endpoints {
		switch {
		case endpoint.Cluster == v.judge.own:
		case host.Fence == policy.Prefer && (!ready || endpoint.Priority > first):
			result.failover[endpoint.Cluster] = true
		default:
			leaving = append(leaving, endpoint)
		}
	}
	if len(leaving) > 0 {
		result.leaks = []Leak{{Path: path, Endpoints: leaving, Reason: reason(leaving)}}
	}
	return result
}

// firstLocal returns the first priority with a ready endpoint of the own cluster; ready is false without one.
func firstLocal(endpoints []Endpoint, own string) (first uint32, ready bool) {
	for _, endpoint := range endpoints {
		if endpoint.Cluster == own && !endpoint.Unready && (!ready || endpoint.Priority < first) {
			first, ready = endpoint.Priority, true
		}
	}
	return first, ready
}

func reason(leaving []Endpoint) string {
	clusters := map[string]bool{}
	for _, endpoint := range leaving {
		clusters[endpoint.Cluster] = true
	}
	unknown := clusters[Unknown]
	delete(clusters, Unknown)
	var parts []string
	if len(clusters) > 0 {
		parts = append(parts, "endpoints in "+strings.Join(slices.Sorted(maps.Keys(clusters)), ", "))
	}
	if unknown {
		parts = append(parts, "endpoints whose cluster is unknown")
	}
	return strings.Join(parts, " and ")
}

// nameTable finds the addresses of other clusters that the client's agent answers a DNS query for the host with,
// or for one of its Pods (row E4). Only addresses that are placed count: the others are Service addresses.
func (v verifier) nameTable(host Host) []Leak {
	if !v.judge.snapshot.Proxy.DNSCapture || host.Fence != policy.Strict {
		return nil
	}
	var leaks []Leak
	for _, name := range slices.Sorted(maps.Keys(v.judge.snapshot.Names)) {
		alias := slices.ContainsFunc(aliases(host.FQDN), func(alias string) bool {
			return name == alias || strings.HasSuffix(name, "."+alias)
		})
		if !alias {
			continue
		}
		var leaving []Endpoint
		for _, address := range v.judge.snapshot.Names[name] {
			cluster := v.judge.addresses.cluster(address)
			if cluster != "" && cluster != v.judge.own {
				leaving = append(leaving, Endpoint{Address: address, Cluster: cluster})
			}
		}
		if len(leaving) > 0 {
			leaks = append(leaks, Leak{Path: Path{Via: viaNameTable, Route: name}, Endpoints: leaving, Reason: reason(leaving)})
		}
	}
	return leaks
}
