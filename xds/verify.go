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
	// Held reports whether no path leaves the client's cluster, and that something there is ready.
	Held Result = "held"
	// Empty reports whether no path leaves, and that nothing in the client's cluster is ready: calls fail.
	Empty Result = "empty"
	// Elsewhere says of a host whose fence is prefer that other clusters alone answer this client: they are what is left
	// where nothing in its own is ready, or what a rule of a user leaves it (see Failover).
	Elsewhere Result = "elsewhere"
	// Leaks reports whether a path leaves.
	Leaks Result = "leaks"
)

// Report is the verdict on one host for one client, with its reasons.
type Report struct {
	Host  string `json:"host"`
	Fence string `json:"fence"`
	// Cluster, Kind, Namespace, Network and Labels are the client's.
	Cluster   string            `json:"cluster"`
	Kind      Kind              `json:"kind"`
	Namespace string            `json:"namespace"`
	Network   string            `json:"network,omitempty"`
	Labels    map[string]string `json:"labels,omitempty"`
	Result    Result            `json:"result"`
	// Known reports whether istiod gives this client a cluster or a path of the host. Where it does not, what becomes of its
	// packets is in Notes.
	Known bool `json:"known"`
	// Probes is how many connections were followed.
	Probes int `json:"probes"`
	// Leaks are the paths that leave.
	Leaks []Leak `json:"leaks"`
	// Unrouted are the clusters that would leave, if something used them by name; no path leads there.
	Unrouted []Leak `json:"unrouted"`
	// Failover are the other clusters that a host whose fence is prefer may fail over to, sorted.
	Failover []string `json:"failover"`
	// Notes are what cannot be judged, and what else a user should know.
	Notes []string `json:"notes"`
}

// Leak is one path that leaves the client's cluster.
type Leak struct {
	Path
	// Endpoints are those that it leaves to; none where Reason says why that is open.
	Endpoints []Endpoint `json:"endpoints"`
	Reason    string     `json:"reason"`
	// Probe is a connection that takes the path, the first of them; empty where only the host's name leads there.
	Probe string `json:"probe,omitempty"`
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

// Verify follows every path of a snapshot that names one of the hosts given, and every connection that is meant for
// one, and reports on each host, in their order.
func Verify(s *Snapshot, hosts []Host, rules Rules) []Report {
	paths := follow(s, newFenced(hosts))
	v := verifier{
		paths:  paths,
		judge:  newJudge(s, rules),
		rules:  rules,
		prober: newProber(s, rules, paths.facts, hosts),
	}
	reports := make([]Report, len(hosts))
	for i, host := range hosts {
		reports[i] = v.report(host)
	}
	return reports
}

type verifier struct {
	paths  *paths
	judge  judge
	rules  Rules
	prober *prober
}

func (v verifier) report(host Host) Report {
	proxy := v.judge.snapshot.Proxy
	report := Report{
		Host: host.FQDN, Fence: host.Fence.String(),
		Cluster: proxy.Cluster, Kind: proxy.Kind, Namespace: proxy.Namespace, Network: proxy.Network, Labels: proxy.Labels,
		Leaks: []Leak{}, Unrouted: []Leak{}, Failover: []string{},
		Notes: append(append([]string{}, v.paths.notes[host.FQDN]...), v.paths.notes[""]...),
	}
	found := verdict{failover: map[string]bool{}}
	v.walked(host, &report, &found)
	v.probed(host, &report, &found)
	found.leaks = append(found.leaks, v.nameTable(host)...)
	report.Leaks = append(report.Leaks, found.leaks...)
	report.Failover = slices.AppendSeq(report.Failover, maps.Keys(found.failover))
	slices.Sort(report.Failover)
	switch {
	case len(report.Leaks) > 0:
		report.Result = Leaks
	case found.ready:
		report.Result = Held
		report.Notes = append(report.Notes, v.emptied(host)...)
	case len(report.Failover) > 0:
		report.Result = Elsewhere
	default:
		report.Result = Empty
	}
	return report
}

// walked judges the paths that name the host.
func (v verifier) walked(host Host, report *Report, found *verdict) {
	routed, unrouted := v.paths.found[host.FQDN], v.paths.unrouted(host.FQDN)
	report.Known = len(routed)+len(unrouted) > 0
	for _, path := range routed {
		if !v.dialled(path) {
			found.add(v.verdict(host, path))
		}
		if path.Cluster != "" && v.judge.snapshot.Clusters[path.Cluster] == nil {
			report.Notes = append(report.Notes, fmt.Sprintf("%s leads to %s, which does not exist: calls fail", path.at(), path.Cluster))
		}
	}
	// Where nothing leads to the host, its clusters are all that can be judged.
	byName := v.rules.ByName || len(routed) == 0
	for _, path := range unrouted {
		verdict := v.verdict(host, path)
		if byName {
			found.add(verdict)
		} else {
			report.Unrouted = append(report.Unrouted, verdict.leaks...)
		}
	}
	if report.Known && len(routed) == 0 {
		report.Notes = append(report.Notes, "no listener leads to the host: its clusters are judged as if something used them by name")
	}
}

// emptied returns notes on the routes of a host that have no endpoint, which hides behind those of the others: a fence has
// taken those of another cluster away.
func (v verifier) emptied(host Host) []string {
	var notes []string
	for _, path := range v.paths.found[host.FQDN] {
		pool := v.judge.pool(path.Cluster)
		if v.judge.snapshot.Clusters[path.Cluster] == nil || pool.open != "" || len(pool.endpoints) > 0 {
			continue
		}
		if note := fmt.Sprintf("%s leads to %s, which has no endpoint: calls fail", path.at(), path.Cluster); !slices.Contains(notes, note) {
			notes = append(notes, note)
		}
	}
	return notes
}

// dialled reports whether a path ends wherever the client has dialled, by a cluster that is not the host's own: probes
// know where that is.
func (v verifier) dialled(path Path) bool {
	cluster := v.judge.snapshot.Clusters[path.Cluster]
	_, own := v.paths.fenced.of(path.Cluster)
	return !own && dialled(cluster)
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

func (v *verdict) add(more verdict) {
	v.leaks = append(v.leaks, more.leaks...)
	v.ready = v.ready || more.ready
	maps.Copy(v.failover, more.failover)
}

func (v verifier) verdict(host Host, path Path) verdict {
	return v.verdictOf(host, path, v.judge.pool(path.Cluster))
}

// verdictOf judges what a path leads to.
func (v verifier) verdictOf(host Host, path Path, pool pool) verdict {
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
	of := v.paths.facts[host.FQDN]
	if of == nil || !v.judge.snapshot.Proxy.DNSCapture || host.Fence != policy.Strict {
		return nil
	}
	var leaks []Leak
	for _, name := range of.names {
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
