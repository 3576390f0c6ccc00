package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// podForeignNetwork refuses a Pod of a strict Service that says that it is in another network than this
// cluster's: istiod puts a gateway of that network in its place, which counts as local wherever it is [E6, E18]. Where the
// FenceConfig names no network, it can only warn: in a mesh of several networks the injector labels every Pod. The label of
// Istio's Namespace says it of every Pod that does not (setNetworkFromNamespace in Istio's
// pilot/pkg/serviceregistry/kube/controller/network.go) [E20].
func podForeignNetwork() Rule {
	return Rule{
		ID:      "pod-foreign-network",
		Summary: "A Pod of a strict Service must not say that it is in another network.",
		Why: "istiod puts a gateway of that network in the place of the Pod. The gateway counts as local wherever " +
			"it is. If the FenceConfig names no network, this is a warning, because in a mesh of several " +
			"networks the injector labels every Pod. The label of Istio's namespace is that of every Pod " +
			"without one, and is judged where the FenceConfig names a network.",
		Fix: "Remove the label topology.istio.io/network, or set controlPlane.network of the FenceConfig if it is " +
			"wrong.",
		Rows:      []string{"E6", "E18", "E20"},
		Kinds:     []string{object.KindPod, object.KindNamespace},
		Severity:  Deny,
		Otherwise: "a gateway of that network receives the traffic in place of the Pod, maybe in another cluster",
		Instead:   "remove the label, or set controlPlane.network of the FenceConfig where it is wrong",
		check: func(o Write, view *policy.View) []breach {
			network, own := o.Metadata.Labels[NetworkLabel], view.Config().Network
			if network == "" || network == own {
				return nil
			}
			if o.Kind == object.KindNamespace {
				return networkOfMesh(o, network, view)
			}
			host, strict := view.StrictSelecting(o.Metadata.Namespace, o.Metadata.Labels)
			if !strict {
				return nil
			}
			b := breach{
				path:  []string{"metadata", "labels", NetworkLabel},
				value: network,
				host:  host,
				must:  fmt.Sprintf("be this cluster's network %q", own),
			}
			if own == "" {
				b.must, b.unsure = "be this cluster's network, which the FenceConfig does not name", true
			}
			return []breach{b}
		},
	}
}

// networkOfMesh judges the label of Istio's Namespace.
func networkOfMesh(o Write, network string, view *policy.View) []breach {
	host, strict := anyStrict(view)
	if !strict || view.Config().Network == "" || o.Metadata.Name != view.Config().IstioNamespace {
		return nil
	}
	return []breach{{
		path:      []string{"metadata", "labels", NetworkLabel},
		value:     network,
		host:      host,
		must:      fmt.Sprintf("be this cluster's network %q", view.Config().Network),
		otherwise: "gateways of that network receive the traffic in place of every Pod of this cluster, maybe in another one",
	}}
}
