package leak

const (
	// NetworkLabel says what network a Pod is in, and of which one a Service is the gateway.
	NetworkLabel = "topology.istio.io/network"

	// The other labels of Pods that change where istiod thinks that they are.
	localityLabel      = "topology.istio.io/locality"
	shortLocalityLabel = "istio-locality"
)

// PodLabels lists the labels that change where istiod thinks that a Pod is.
func PodLabels() []string { return []string{NetworkLabel, localityLabel, shortLocalityLabel} }

const (
	// proxyConfigAnnotation is the part of a Pod's own in the config of its proxy, from which the injector takes
	// environment variables.
	proxyConfigAnnotation = "proxy.istio.io/config"
	// proxyOverridesAnnotation keeps the containers that a Pod had under the names of those that the injector adds. What
	// they say comes before what the injector says (reapplyOverwrittenContainers in Istio's pkg/kube/inject/webhook.go).
	proxyOverridesAnnotation = "proxy.istio.io/overrides"
)

// ProxyAnnotations lists the annotations of a Pod that say what its proxy claims. Without one of them, matching
// ProxyPattern, or one of PodLabels, no rule looks at a Pod.
func ProxyAnnotations() []string { return []string{proxyConfigAnnotation, proxyOverridesAnnotation} }

// ProxyPattern is a regular expression that the annotations match wherever a rule may find something in them: they
// name a field or variable that is judged, or can do so by an escape or a tag of YAML.
const ProxyPattern = clusterVariable + `|discovery_?[aA]ddress|[\\!]`
