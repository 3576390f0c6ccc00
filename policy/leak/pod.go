package leak

const (
	// NetworkLabel says what network a Pod is in, and of which one a Service is the gateway.
	NetworkLabel = "topology.istio.io/network"

	// The other labels of Pods that change where istiod thinks that they are.
	localityLabel      = "topology.istio.io/locality"
	shortLocalityLabel = "istio-locality"
)

// PodLabels lists the labels without which no rule looks at a Pod.
func PodLabels() []string { return []string{NetworkLabel, localityLabel, shortLocalityLabel} }

const (
	// ProxyConfigAnnotation is the part of a Pod's own in the config of its proxy, from which the injector takes
	// environment variables.
	ProxyConfigAnnotation = "proxy.istio.io/config"
	// ProxyClusterPattern is a regular expression that the annotation matches wherever a rule may find something in
	// it: it names the variable, or can do so by an escape or a tag of YAML.
	ProxyClusterPattern = clusterVariable + `|[\\!]`
)
