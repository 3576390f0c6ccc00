package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// proxyConfigForeignCluster refuses a ProxyConfig that has the proxies of its Namespace, or of the Pods that it
// selects, say that they are in another cluster (toMeshConfigProxyConfig in Istio's pilot/pkg/model/proxy_config.go
// hands its variables to the injector), as pod-foreign-cluster does for one Pod [K1].
func proxyConfigForeignCluster() Rule {
	return Rule{
		ID:      "proxyconfig-foreign-cluster",
		Summary: "A ProxyConfig must not have proxies say that they are in another cluster.",
		Why: "Its variables reach every proxy of the namespace, or of the Pods that it selects. istiod then sends " +
			"those proxies the endpoints of the other cluster as local ones.",
		Fix:       "Remove the variable, and leave it to the injector.",
		Rows:      []string{"K1"},
		Kinds:     []string{object.KindProxyConfig},
		Severity:  Deny,
		Otherwise: "the proxies are sent to the Pods of that cluster, as if they were there, or take addresses of this one for unknown",
		Instead:   "leave it to the injector",
		check: func(o Write, view *policy.View) []breach {
			cluster, claims := o.ProxyConfig.EnvironmentVariables[clusterVariable]
			if !claims || slices.Contains(view.Config().Clusters, cluster) {
				return nil
			}
			host, judged := claimable(o, view)
			if !judged {
				return nil
			}
			return []breach{{
				path:  []string{"spec", "environmentVariables", clusterVariable},
				value: cluster,
				host:  host,
				must:  mustClaim(view.Config()),
			}}
		},
	}
}
