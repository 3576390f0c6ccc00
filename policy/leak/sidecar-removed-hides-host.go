package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// sidecarRemovedHidesHost refuses the deletion of a Sidecar, and a selector that it gets, where its clients come under
// the Sidecar of the root namespace, or under none, and something then takes what they send to a strict host that they
// do not know any more [I5, I8, I9]. Where it follows from the deletion of something else it passes.
func sidecarRemovedHidesHost() Rule {
	return Rule{
		ID:      "sidecar-removed-hides-host",
		Summary: "A Sidecar must stay while its clients would lose sight of a strict host without it.",
		Why: "When it goes, or gets a selector, its clients come under the Sidecar of the root namespace, or " +
			"under none. Something else then takes what they send to a strict host that they no longer know.",
		Fix:       "First remove what would take the traffic, or let the other Sidecar import the host.",
		Rows:      []string{"I5", "I8", "I9"},
		Kinds:     []string{object.KindSidecar},
		Deletions: true,
		Severity:  Deny,
		Otherwise: "what those clients send to the host goes there",
		Instead:   "remove that first, or let the other Sidecar import the host",
		check: func(o Write, view *policy.View) []breach {
			path := []string{"spec", "workloadSelector"}
			switch {
			case o.Deleted && (o.Sidecar.WorkloadSelector != nil || slices.Contains(deleters(), o.Writer)):
				return nil
			case o.Deleted:
				path = []string{"metadata", "name"}
			case o.Before() == nil || o.Before().Sidecar.WorkloadSelector != nil || o.Sidecar.WorkloadSelector == nil:
				return nil
			}
			var found []breach
			for _, c := range view.ClientsWithout(o.Object) {
				for _, b := range caughtAnyhow(&c, view) {
					b.path = path
					found = append(found, b)
				}
			}
			return found
		},
	}
}

// caughtAnyhow lists what clients send elsewhere because they do not know strict hosts, without a path.
func caughtAnyhow(c *policy.Clients, view *policy.View) []breach {
	const must = "stay for clients that would not know the host, while "
	var found []breach
	for _, caught := range caughtFrom(c, view) {
		entry := caught.entry.Metadata.Namespace + "/" + caught.entry.Metadata.Name
		found = append(found, breach{at: entry, host: caught.host, must: must + "ServiceEntry " + entry + " has them listen on every address"})
	}
	for _, w := range wildcardsOver(c, view) {
		found = append(found, breach{at: w.String(), host: w.host, must: must + w.String() + " covers its short name"})
	}
	if host, hidden := hiddenFromProxied(c, view); hidden {
		found = append(found, breach{at: "proxy", host: host, must: must + "the egress proxy of another Sidecar takes what is for unknown hosts"})
	}
	return found
}
