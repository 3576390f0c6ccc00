package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// named is how many objects of one kind are told of one by one.
const named = 20

// few keeps the first results, and says how many more there are.
func few(results []Result) []Result {
	if len(results) <= named {
		return results
	}
	more := results[named]
	more.Seen = fmt.Sprintf("and %d more like it: meshfence audit lists them all", len(results)-named)
	return append(slices.Clone(results[:named]), more)
}

func checkHolds(o Observation) []Result {
	if o.Fences.Err != nil {
		return unknown(o.Fences.Err)
	}
	var results []Result
	var names []string
	for _, h := range o.Fences.Value.Report.Holds {
		names = append(names, h.Hold)
		switch h.State {
		case policy.HoldTrue:
		case policy.HoldBehind:
			results = append(results, warning(fmt.Sprintf("hold %s is behind: %s", h.Hold, h.Reason), "wait some seconds; if it stays so, see the log of the leader"))
		default:
			results = append(results, failed(fmt.Sprintf("hold %s is %s: %s", h.Hold, h.State, h.Reason), "see the reason; until it is true, another hold must hold"))
		}
	}
	return or(results, "%s", strings.Join(names, ", "))
}

func checkHeld(o Observation) []Result {
	if o.Fences.Err != nil {
		return unknown(o.Fences.Err)
	}
	var results []Result
	strict := 0
	for _, s := range o.Fences.Value.Report.Services {
		if s.Fence == policy.Strict.String() {
			strict++
		}
		if len(s.Lacks) > 0 {
			results = append(results, failed(fmt.Sprintf("Service %s/%s is strict, and nothing holds it: %s", s.Namespace, s.Name, s.Lacks[0].Message),
				fmt.Sprintf("meshfence explain %s/%s", s.Namespace, s.Name)))
		}
	}
	return or(few(results), "strict Services: %d", strict)
}

func checkFindings(o Observation) []Result {
	if o.Fences.Err != nil {
		return unknown(o.Fences.Err)
	}
	var results []Result
	for _, r := range o.Fences.Value.Report.Results {
		for _, f := range r.Denied {
			results = append(results, failed(fmt.Sprintf("%s %s/%s: %s: %s", r.Key.Kind, r.Key.Namespace, r.Key.Name, f.Field(), f.Message()), "meshfence rules "+f.Rule))
		}
	}
	return or(few(results), "%d objects have lesser findings, which meshfence audit lists", len(o.Fences.Value.Report.Results))
}

func checkEndpoints(o Observation) []Result {
	if o.Fences.Err != nil {
		return unknown(o.Fences.Err)
	}
	var results []Result
	strict := policy.Strict.String()
	for _, s := range o.Fences.Value.Report.Services {
		if s.Fence == strict && s.Ready == 0 {
			results = append(results, warning(fmt.Sprintf("Service %s/%s is strict and has no ready endpoint in this cluster: calls to it fail", s.Namespace, s.Name),
				"start its workload here, or loosen its fence"))
		}
	}
	return or(few(results), "none is without")
}

// checkDuplicates finds what Istio merges, or takes the oldest of: DestinationRules for one host in one namespace (B4, C7),
// and the VirtualServices of sidecars for one host. A companion beside those of users is meant to be there.
func checkDuplicates(o Observation) []Result {
	if o.Fences.Err != nil {
		return unknown(o.Fences.Err)
	}
	index := o.Fences.Value.Index
	view, domain := index.View(), index.Config().ClusterDomain
	type place struct{ kind, namespace, host string }
	found := map[place][]string{}
	fenced := map[string]bool{}
	for _, h := range index.Fenced("", policy.Strict, policy.Prefer) {
		fenced[h.FQDN(domain)] = true
	}
	for _, key := range index.Objects() {
		o, ok := view.Object(key)
		if !ok || inject.IsCompanion(key.Name, o.Metadata.Labels) {
			continue
		}
		for _, host := range hosts(o, domain) {
			if fenced[host] {
				at := place{key.Kind, key.Namespace, host}
				found[at] = append(found[at], key.Name)
			}
		}
	}
	var results []Result
	for at, names := range found {
		if len(names) > 1 {
			results = append(results, warning(fmt.Sprintf("%d %ss of namespace %s are for %s: %s: which settings count depends on their age",
				len(names), at.kind, at.namespace, at.host, sorted(names)), "make one of them"))
		}
	}
	slices.SortFunc(results, func(a, b Result) int { return strings.Compare(a.Seen, b.Seen) })
	return or(few(results), "none")
}

// hosts returns the full names of the hosts that an object configures for sidecars, where several objects of its kind for
// one host get in each other's way.
func hosts(o *object.Object, domain string) []string {
	var written []string
	switch {
	case o.DestinationRule != nil && o.DestinationRule.WorkloadSelector == nil:
		written = []string{o.DestinationRule.Host}
	case o.VirtualService != nil && o.VirtualService.InMesh():
		written = o.VirtualService.Hosts
	}
	full := map[string]bool{}
	for _, host := range written {
		full[hostname.Resolve(host, o.Metadata.Namespace, domain)] = true
	}
	return slices.Sorted(maps.Keys(full))
}
