package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceExportFenced refuses to export a strict Service to other clusters, whoever does it: istiod exports by
// itself where it is told to [G1, F10].
func serviceExportFenced() Rule {
	return Rule{
		ID:      "serviceexport-fenced",
		Summary: "A strict Service must not be exported to other clusters.",
		Why: "With a ServiceExport, every cluster finds the endpoints of the Service, also under its name in " +
			"clusterset.local. No fence covers that name.",
		Fix:       "Do not export the Service, or loosen its fence.",
		Rows:      []string{"G1", "F10"},
		Kinds:     []string{object.KindServiceExport},
		Severity:  Deny,
		Otherwise: "every cluster finds its endpoints, also under the name in clusterset.local, which no fence covers",
		Instead:   "do not export it",
		Loosen:    "loosen its fence",
		check: func(o Write, view *policy.View) []breach {
			host := hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
			match := view.Match(host.FQDN(view.Config().ClusterDomain))
			if !match.Has(policy.Strict) {
				return nil
			}
			return []breach{{
				path:  []string{"metadata", "name"},
				value: o.Metadata.Name,
				host:  match.Host(policy.Strict),
				must:  "not be the name of a strict Service",
			}}
		},
	}
}
