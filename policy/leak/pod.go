package leak

// The labels of Pods that change where istiod thinks that they are.
const (
	networkLabel       = "topology.istio.io/network"
	localityLabel      = "topology.istio.io/locality"
	shortLocalityLabel = "istio-locality"
)

// PodLabels lists the labels without which no rule looks at a Pod.
func PodLabels() []string { return []string{networkLabel, localityLabel, shortLocalityLabel} }
