package leak

import "github.com/meshfence/meshfence/policy"

// serviceExternalName refuses a strict Service that is only another name for something else [E3].
func serviceExternalName() Rule {
	return Rule{
		ID:       "service-external-name",
		Rows:     []string{"E3"},
		Kinds:    []string{policy.KindService},
		Severity: Deny,
		Leaks:    "the host's traffic follows a name that may resolve outside the cluster",
		Mend:     "use a Service with a selector, or loosen its fence",
		check: func(o Write, view *policy.View) []breach {
			if o.Service.Type != "ExternalName" {
				return nil
			}
			host := policy.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
			decision := view.Service(host, o.Metadata.Annotations)
			if decision.Fence != policy.Strict {
				return nil
			}
			return []breach{{
				path:  []string{"spec", "type"},
				value: o.Service.Type,
				at:    o.Service.ExternalName,
				host:  policy.FencedHost{Host: host.FQDN(view.Config().ClusterDomain), Decision: decision},
				must:  "not be ExternalName",
			}}
		},
	}
}
