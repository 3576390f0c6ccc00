package leak

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// clusterVariable says what cluster a proxy is in.
const clusterVariable = "ISTIO_META_CLUSTER_ID"

// podForeignCluster refuses a Pod whose proxy would say that it is in another cluster: to istiod the endpoints of that
// one are local then [K1]. Where a label of the endpoints counts instead,
// it still listens on the addresses of that cluster alone, so that a ServiceEntry without one may take what it sends.
// A proxy that asks another istiod is warned of: the fences of that one's cluster count for it, and not those of this.
func podForeignCluster() Rule {
	return Rule{
		ID:      "pod-foreign-cluster",
		Summary: "A Pod must not have its proxy say that it is in another cluster.",
		Why: "istiod sends a proxy that claims another cluster the endpoints of that cluster as local ones. The " +
			"claim can come from a variable or from an annotation where the injector does not overwrite it. A " +
			"proxy that asks another istiod has the fences of that one's cluster, and is warned of.",
		Fix:       "Remove the claim, and leave it to the injector.",
		Rows:      []string{"K1"},
		Kinds:     []string{object.KindPod},
		Severity:  Deny,
		Otherwise: "its proxy is sent to the Pods of that cluster, as if it were there, or takes addresses of this one for unknown",
		Instead:   "leave it to the injector",
		check: func(o Write, view *policy.View) []breach {
			host, judged := claimable(o, view)
			if !judged {
				return nil
			}
			var breaches []breach
			for _, annotation := range ProxyAnnotations() {
				claim := claimIn(annotation, o.Metadata.Annotations[annotation])
				b := breach{path: []string{"metadata", "annotations", annotation}, host: host}
				if claim.cluster != nil && !slices.Contains(view.Config().Clusters, *claim.cluster) {
					b.value, b.must = *claim.cluster, mustClaim(view.Config())
					breaches = append(breaches, b)
				}
				if claim.istiod != "" && !inIstioNamespace(claim.istiod, view.Config()) {
					b.value, b.unsure, b.otherwise = claim.istiod, true, "the fences of that one's cluster count for its proxy, and not those of this one"
					b.must = fmt.Sprintf("name no istiod but one of this cluster, in namespace %s", view.Config().IstioNamespace)
					breaches = append(breaches, b)
				}
			}
			return breaches
		},
	}
}

// claimable returns a host that counts for what a proxy claims; ok is false where there is none, or where the object
// is in a Namespace that is left alone.
func claimable(o Write, view *policy.View) (host policy.FencedHost, ok bool) {
	if exempt(o.Metadata.Namespace, view.Config()) {
		return host, false
	}
	return anyStrict(view)
}

func mustClaim(config *policy.Config) string {
	return fmt.Sprintf("set %s to none but a cluster of this control plane, which are %q", clusterVariable, config.Clusters)
}

// claim is what a proxy says to istiod, where that is not left to the injector.
type claim struct {
	// cluster is nil where none is claimed, and empty where it comes from elsewhere.
	cluster *string
	// istiod is the address of the one that is asked.
	istiod string
}

// claimIn returns what an annotation of a Pod claims.
func claimIn(annotation, text string) claim {
	switch {
	case text == "":
		return claim{}
	case annotation == proxyConfigAnnotation:
		return configured(text)
	}
	return overridden(text)
}

// configured returns what the config of a proxy claims. Istio reads both spellings of a field, and no config that is
// broken.
func configured(text string) claim {
	var config struct {
		ProxyMetadata         map[string]any `json:"proxyMetadata"`
		OtherMetadata         map[string]any `json:"proxy_metadata"`
		DiscoveryAddress      string         `json:"discoveryAddress"`
		OtherDiscoveryAddress string         `json:"discovery_address"`
	}
	if yaml.Unmarshal([]byte(text), &config) != nil {
		return claim{}
	}
	found := claim{istiod: config.DiscoveryAddress + config.OtherDiscoveryAddress}
	for _, metadata := range []map[string]any{config.ProxyMetadata, config.OtherMetadata} {
		if value, ok := metadata[clusterVariable]; ok {
			cluster := fmt.Sprint(value)
			found.cluster = &cluster
		}
	}
	return found
}

// overridden returns what the containers claim that come before those of the injector.
func overridden(text string) claim {
	type container struct {
		Env []struct {
			Name  string `json:"name"`
			Value string `json:"value"`
		} `json:"env"`
	}
	var overrides struct {
		Containers     []container `json:"containers"`
		InitContainers []container `json:"initContainers"`
	}
	if json.Unmarshal([]byte(text), &overrides) != nil {
		return claim{}
	}
	var found claim
	for _, c := range append(overrides.Containers, overrides.InitContainers...) {
		for _, variable := range c.Env {
			if variable.Name == clusterVariable {
				found.cluster = &variable.Value
			}
		}
	}
	return found
}

// inIstioNamespace reports whether an address is that of a Service in Istio's Namespace.
func inIstioNamespace(address string, config *policy.Config) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	_, domain, _ := strings.Cut(strings.TrimSuffix(host, "."), ".")
	return slices.Contains([]string{
		config.IstioNamespace, config.IstioNamespace + ".svc", config.IstioNamespace + ".svc." + config.ClusterDomain,
	}, domain)
}

// exempt reports whether meshfence never touches what is in a Namespace.
func exempt(namespace string, config *policy.Config) bool {
	scope := config.Namespace(namespace, nil)
	return scope.Service("", nil).Exempt
}
