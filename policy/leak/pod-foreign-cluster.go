package leak

import (
	"fmt"
	"slices"

	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
)

// clusterVariable says what cluster a proxy is in.
const clusterVariable = "ISTIO_META_CLUSTER_ID"

// podForeignCluster refuses a Pod whose proxy would say that it is in another cluster: to istiod the endpoints of that
// one are local then [K1]. Where a label of the endpoints counts instead,
// it still listens on the addresses of that cluster alone, so that a ServiceEntry without one may take what it sends.
func podForeignCluster() Rule {
	return Rule{
		ID:       "pod-foreign-cluster",
		Rows:     []string{"K1"},
		Kinds:    []string{policy.KindPod},
		Severity: Deny,
		Leaks:    "its proxy is sent to the Pods of that cluster, as if it were there, or takes addresses of this one for unknown",
		Mend:     "leave the variable to the injector",
		check: func(o Write, view *policy.View) []breach {
			cluster, claims := claimedCluster(o.Metadata.Annotations[ProxyConfigAnnotation])
			config := view.Config()
			if !claims || slices.Contains(config.Clusters, cluster) || exempt(o.Metadata.Namespace, config) {
				return nil
			}
			match := view.Match("*.svc." + config.ClusterDomain)
			if !match.Has(policy.Strict) {
				return nil
			}
			return []breach{{
				path:  []string{"metadata", "annotations", ProxyConfigAnnotation},
				value: cluster,
				host:  match.Host(policy.Strict),
				must:  fmt.Sprintf("set %s to none but a cluster of this control plane, which are %q", clusterVariable, config.Clusters),
			}}
		},
	}
}

// claimedCluster returns the cluster that the config of a proxy claims. Istio reads both spellings of the field, and
// no config that is broken.
func claimedCluster(text string) (cluster string, ok bool) {
	var config struct {
		ProxyMetadata map[string]any `json:"proxyMetadata"`
		Other         map[string]any `json:"proxy_metadata"`
	}
	if text == "" || yaml.Unmarshal([]byte(text), &config) != nil {
		return "", false
	}
	for _, metadata := range []map[string]any{config.ProxyMetadata, config.Other} {
		if value, ok := metadata[clusterVariable]; ok {
			return fmt.Sprint(value), true
		}
	}
	return "", false
}

// exempt reports whether meshfence never touches what is in a Namespace.
func exempt(namespace string, config *policy.Config) bool {
	scope := config.Namespace(namespace, nil)
	return scope.Service("", nil).Exempt
}
