package leak

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// EndpointWriters lists the users that keep the endpoints of Services: the controllers of kube-controller-manager,
// with and without credentials of their own.
func EndpointWriters() []string {
	return []string{
		"system:kube-controller-manager",
		"system:serviceaccount:kube-system:endpoint-controller",
		"system:serviceaccount:kube-system:endpointslice-controller",
		"system:serviceaccount:kube-system:endpointslicemirroring-controller",
	}
}

const (
	serviceNameLabel = "kubernetes.io/service-name"
	managedByLabel   = "endpointslice.kubernetes.io/managed-by"
	// controllersSuffix ends what the controllers of Kubernetes call themselves in managedByLabel.
	controllersSuffix = "-controller.k8s.io"
)

// endpointSliceForeignWriter refuses endpoints of a strict Service that somebody else writes than the
// controllers which follow its selector: they count as local whatever their addresses [E2]. Where nobody writes,
// what a slice says of its manager counts.
func endpointSliceForeignWriter() Rule {
	return Rule{
		ID:       "endpointslice-foreign-writer",
		Rows:     []string{"E2"},
		Kinds:    []string{policy.KindEndpointSlice, policy.KindEndpoints},
		Severity: Deny,
		Leaks:    "its addresses receive the host's traffic and pass for local ones",
		Mend:     "let the selector of the Service choose Pods",
		check: func(o Write, view *policy.View) []breach {
			path, name := []string{"metadata", "name"}, o.Metadata.Name
			if o.EndpointSlice != nil {
				path, name = []string{"metadata", "labels", serviceNameLabel}, o.Metadata.Labels[serviceNameLabel]
			}
			kept := strings.HasSuffix(o.Metadata.Labels[managedByLabel], controllersSuffix)
			switch {
			case name == "" || len(o.Addresses()) == 0:
				return nil
			case o.Writer != "" && slices.Contains(EndpointWriters(), o.Writer):
				return nil
			case o.Writer == "" && (kept || o.Endpoints != nil):
				return nil // the controllers mirror no Endpoints but those of a Service without selector
			}
			match := view.Match(policy.Host{Namespace: o.Metadata.Namespace, Name: name}.FQDN(view.Config().ClusterDomain))
			if !match.Has(policy.Strict) {
				return nil
			}
			return []breach{{
				path:  path,
				value: name,
				at:    strings.Join(o.Addresses(), ","),
				host:  match.Host(policy.Strict),
				must:  fmt.Sprintf("not be the name of a strict Service in what %s writes", cmp.Or(o.Writer, "a person")),
			}}
		},
	}
}
