package leak

import (
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceExternalName refuses a strict Service that is only another name for something else than a strict host of this
// cluster [E3]. Istio gives such a name the clusters and routes of that host (resolveServiceAliases in its
// pilot/pkg/model/push_context.go), which the fence of that one holds.
func serviceExternalName() Rule {
	return Rule{
		ID:      "service-external-name",
		Summary: "A strict Service must not be another name for something outside.",
		Why: "The clients of an ExternalName Service follow the name that it gives. That name may resolve outside " +
			"the cluster. The full name of a strict host of this cluster passes, because the fence of that host " +
			"holds.",
		Fix: "Use a Service with a selector, or the full name of a strict host of this cluster, or loosen the " +
			"fence.",
		Rows:      []string{"E3"},
		Kinds:     []string{object.KindService},
		Severity:  Deny,
		Otherwise: "the host's traffic follows a name that may resolve outside the cluster",
		Instead:   "use a Service with a selector, or the full name of a strict host of this cluster",
		Loosen:    "loosen its fence",
		check: func(o Write, view *policy.View) []breach {
			service, strict := strictService(o.Object, view)
			if !strict || o.Service.Type != string(corev1.ServiceTypeExternalName) || namesStrict(o.Service.ExternalName, o.Metadata.Namespace, view) {
				return nil
			}
			return []breach{{
				path:  []string{"spec", "type"},
				value: o.Service.Type,
				at:    o.Service.ExternalName,
				host:  service,
				must:  "not be ExternalName",
			}}
		},
	}
}

// namesStrict reports whether a name is that of a strict host which Pods of this cluster alone serve.
func namesStrict(name, namespace string, view *policy.View) bool {
	if !strings.Contains(strings.TrimSuffix(name, "."), ".") {
		return false // DNS looks for no such name in a Namespace
	}
	_, foreign := newDestinations(view).of(policy.FencedHost{}, strings.TrimSuffix(name, "."), namespace)
	return !foreign
}
