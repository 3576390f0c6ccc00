package object

// WorkloadSelector chooses workloads of its own Namespace by their labels.
type WorkloadSelector struct {
	Labels map[string]string `json:"labels"`
}

// WorkloadEntry is the part of a networking.istio.io WorkloadEntry, and of an endpoint of a ServiceEntry, that
// is read.
type WorkloadEntry struct {
	Address  string            `json:"address"`
	Labels   map[string]string `json:"labels"`
	Network  string            `json:"network"`
	Locality string            `json:"locality"`
}

// WorkloadGroup is the part of a networking.istio.io WorkloadGroup that is read: what the WorkloadEntries that
// istiod makes for it will look like.
type WorkloadGroup struct {
	Metadata struct {
		Labels map[string]string `json:"labels"`
	} `json:"metadata"`
	Template WorkloadEntry `json:"template"`
}
