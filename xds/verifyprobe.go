package xds

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/object"
)

// way is what tells one outcome of a probe from another: the path, and for a dialled address where it is.
type way struct {
	Path
	first string
}

// probed follows every connection that is meant for the host, and adds what that shows.
func (v verifier) probed(host Host, report *Report, found *verdict) {
	seen := map[way]bool{}
	ends := map[string]bool{}
	for probe := range v.prober.probes(host) {
		report.Probes++
		for _, outcome := range v.prober.resolver.Resolve(probe.Probe) {
			way := way{Path: outcome.Path}
			if len(outcome.Endpoints) > 0 {
				way.first = outcome.Endpoints[0].Address
			}
			if seen[way] || v.judge.snapshot.Proxy.Kind == Gateway && probe.Anybodys(outcome) {
				continue
			}
			seen[way] = true
			ends[outcome.end()] = true
			v.follow(host, report, found, outcome, probe.String())
		}
	}
	if !report.Known {
		report.Notes = append(report.Notes, unknown(report.Probes, ends))
	}
}

// Anybodys reports whether a gateway would do the same with whatever asks it: the connections for a host have nothing to
// do there, unless something sends them, and then that path leaves. Not so those that proxies of other networks and
// clusters send it for a host, by its server name, to the port for that. If the gateway ends their TLS itself, they end
// there: those proxies look whether who answers is a workload of the host (buildAutoMtlsSettings in Istio's
// pilot/pkg/networking/core/cluster_tls.go).
func (p Probe) Anybodys(outcome Outcome) bool {
	if p.Address.Port() == object.EastWestPort && strings.HasPrefix(p.SNI, "outbound_.") {
		return outcome.EndsTLS
	}
	return outcome.AnyName
}

// follow adds one outcome to what was found.
func (v verifier) follow(host Host, report *Report, found *verdict, outcome Outcome, probe string) {
	if outcome.Cluster == "" || outcome.Verdict == Nowhere {
		if outcome.Verdict == Unclear {
			report.Notes = append(report.Notes, fmt.Sprintf("%s: %s: unknown", outcome.at(), outcome.Reason))
		}
		return
	}
	i := slices.IndexFunc(found.leaks, func(leak Leak) bool { return leak.Path == outcome.Path })
	if i >= 0 {
		found.leaks[i].Probe = probe
		return
	}
	verdict := v.verdictOf(host, outcome.Path, pool{endpoints: outcome.Endpoints, open: outcome.Open})
	for i := range verdict.leaks {
		verdict.leaks[i].Probe = probe
	}
	// For a host that istiod tells the client of, the endpoints of its own paths say whether something is ready.
	verdict.ready = verdict.ready && !report.Known
	found.add(verdict)
}

// end names where an outcome leads.
func (o Outcome) end() string {
	if o.Cluster == "" {
		return "nowhere"
	}
	return fmt.Sprintf("%s (%s)", o.Cluster, o.Verdict)
}

// unknown says what becomes of the packets for a host that istiod does not tell the client of.
func unknown(probes int, ends map[string]bool) string {
	const said = "istiod gives this client no path to the host and no cluster of it"
	if probes == 0 {
		return said + ", and its addresses or ports are not known here: nothing was asked"
	}
	var names []string
	for end := range ends {
		names = append(names, end)
	}
	slices.Sort(names)
	return said + ": what it sends there ends at " + strings.Join(names, ", ")
}
