package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
)

// envoyFilterInFencedNamespace warns of an EnvoyFilter beside a strict Service, or in the root namespace, where it
// is for every workload: what it does to the traffic cannot be told from it [J].
func envoyFilterInFencedNamespace() Rule {
	return Rule{
		ID:       "envoyfilter-in-fenced-namespace",
		Rows:     []string{"J"},
		Kinds:    []string{policy.KindEnvoyFilter},
		Severity: Warn,
		Leaks:    "it may send that host's traffic anywhere without being noticed",
		Mend:     "see that it changes no cluster, route or listener",
		check: func(o Write, view *policy.View) []breach {
			config, namespace := view.Config(), o.Metadata.Namespace
			hosts, must := fmt.Sprintf("*.%s.svc.%s", namespace, config.ClusterDomain), "not be a namespace with a strict Service"
			if namespace == config.IstioNamespace {
				hosts, must = "*", "not be the root namespace of a mesh with strict Services"
			}
			match := view.Match(hosts)
			if !match.Has(policy.Strict) {
				return nil
			}
			return []breach{{
				path: []string{"metadata", "namespace"}, value: namespace, host: match.Host(policy.Strict), must: must,
			}}
		},
	}
}
