package leak

import (
	"fmt"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// envoyFilterInFencedNamespace warns of an EnvoyFilter beside a strict Service, or in the root namespace, where it
// is for every workload, that changes more than filters which send nothing elsewhere: what it does to the traffic cannot
// be told from it [J].
func envoyFilterInFencedNamespace() Rule {
	return Rule{
		ID:      "envoyfilter-in-fenced-namespace",
		Summary: "An EnvoyFilter beside a strict Service, or in the root namespace, should change nothing that routes.",
		Why: "An EnvoyFilter can change clusters, routes and listeners in any way. What it does to the traffic " +
			"cannot be read from it, so no rule can prove that it is harmless.",
		Fix:       "See that it changes no cluster, no route, no listener, and no header before the route is chosen.",
		Rows:      []string{"J"},
		Kinds:     []string{object.KindEnvoyFilter},
		Severity:  Warn,
		Otherwise: "it may send that host's traffic anywhere without being noticed",
		Instead:   "see that it changes no cluster, route or listener, and no header before the route is chosen",
		check: func(o Write, view *policy.View) []breach {
			if o.EnvoyFilter == nil {
				return nil // one that cannot be read, which the API server's schema rules out
			}
			host, where, strict := besideStrict(o.Object, view)
			if !strict {
				return nil
			}
			var found []breach
			for i, patch := range o.EnvoyFilter.ConfigPatches {
				if what, may := redirects(patch); may {
					found = append(found, breach{
						path: []string{"spec", "configPatches", strconv.Itoa(i)}, value: patch.ApplyTo, at: what, host: host,
						must: fmt.Sprintf("not change %s in %s", what, where),
					})
				}
			}
			return found
		},
	}
}
