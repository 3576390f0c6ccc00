package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
)

// podForeignNetwork refuses a Pod of a strict Service that says that it is in another network than this
// cluster's: istiod puts a gateway of that network in its place, which counts as local wherever it is [E6].
func podForeignNetwork() Rule {
	return Rule{
		ID:       "pod-foreign-network",
		Rows:     []string{"E6"},
		Kinds:    []string{policy.KindPod},
		Severity: Deny,
		Leaks:    "a gateway of that network receives the traffic in place of the Pod, maybe in another cluster",
		Mend:     "remove the label, or set controlPlane.network of the FenceConfig where it is wrong",
		check: func(o Write, view *policy.View) []breach {
			network, own := o.Metadata.Labels[networkLabel], view.Config().Network
			if network == "" || network == own {
				return nil
			}
			host, strict := view.StrictSelecting(o.Metadata.Namespace, o.Metadata.Labels)
			if !strict {
				return nil
			}
			must := fmt.Sprintf("be this cluster's network %q", own)
			if own == "" {
				must = "not be set, because the FenceConfig names no network of this cluster"
			}
			return []breach{{
				path:  []string{"metadata", "labels", networkLabel},
				value: network,
				host:  host,
				must:  must,
			}}
		},
	}
}
