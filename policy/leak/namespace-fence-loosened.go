package leak

import (
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// namespaceFenceLoosened refuses to change the labels of a Namespace so that a locked entry of the FenceConfig
// does not match it any more, where the entry that is left asks for less. The label meshfence.io/fence itself
// can loosen no locked entry.
func namespaceFenceLoosened() Rule {
	return Rule{
		ID: "namespace-fence-loosened",
		Summary: "The labels of a Namespace must not change so that a locked entry of the FenceConfig does not match " +
			"it any more.",
		Why: "A locked entry is a floor under every fence in the namespaces that it selects. Without the labels " +
			"that it selects by, the traffic of the Services there may leave the cluster.",
		Fix:       "Keep the labels that the entry selects by, or ask those who keep the FenceConfig.",
		Kinds:     []string{object.KindNamespace},
		Severity:  Deny,
		Otherwise: "the traffic of its Services may leave the cluster",
		Instead:   "keep the labels that the entry selects by, or ask those who keep the FenceConfig",
		check: func(o Write, view *policy.View) []breach {
			if o.Before() == nil {
				return nil
			}
			name := o.Metadata.Name
			before := view.Config().Namespace(name, o.Before().Metadata.Labels).Floor()
			after := view.Config().Namespace(name, o.Metadata.Labels).Floor()
			if after.Fence >= before.Fence {
				return nil
			}
			all := hostname.Host{Namespace: name, Name: "*"}
			return []breach{{
				path:  []string{"metadata", "labels"},
				value: labels.Set(o.Metadata.Labels).String(),
				host:  policy.FencedHost{Host: all.FQDN(view.Config().ClusterDomain), Decision: before},
				must:  "still match a locked entry that is as tight",
			}}
		},
	}
}
