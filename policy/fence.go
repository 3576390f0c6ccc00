package policy

import "slices"

// Names of the labels and annotations that meshfence reads and writes. They are contracts.
const (
	// FenceKey is the annotation on a Service and the label on a Namespace that ask for a fence.
	FenceKey = "meshfence.io/fence"
	// FencedLabel is the label that admission sets on a fenced Service.
	FencedLabel = "meshfence.io/fenced"
	// FencedByAnnotation names, on a fenced Service, what fences it.
	FencedByAnnotation = "meshfence.io/fenced-by"
	// InjectedAnnotation records on a DestinationRule or VirtualService what admission added, so that it can
	// be taken back.
	InjectedAnnotation = "meshfence.io/injected"
	// EnforcementLabel is the label on a Namespace that overrides the enforcement of the FenceConfig.
	EnforcementLabel = "meshfence.io/enforcement"
	// ProbeAnnotation is what the leader puts, in a dry run, on the Service default/kubernetes to find out whether the API
	// server calls the webhooks.
	ProbeAnnotation = "meshfence.io/probe"
	// RevisionLabel is Istio's label that names the one istiod revision that reads an object; where it is absent every istiod does.
	RevisionLabel = "istio.io/rev"
	// ClusterLabel is the label that istiod gives every endpoint and proxy: the id of its cluster.
	ClusterLabel = "topology.istio.io/cluster"
)

// Fence says how far the traffic of one Service may go. The order is that of tightness.
type Fence int8

const (
	// None is Istio's default: one pool of endpoints over all clusters.
	None Fence = iota
	// Prefer sends traffic to the client's cluster first, and to another one only as failover.
	Prefer
	// Strict never lets traffic leave the client's cluster, even when no local endpoint is ready.
	Strict
)

//nolint:gochecknoglobals // a table that nothing writes
var fenceNames = [...]string{None: "none", Prefer: "prefer", Strict: "strict"}

// Fences lists the names of all fences, loosest first.
func Fences() []string { return slices.Clone(fenceNames[:]) }

// String returns the name that annotations, labels and the FenceConfig use.
func (f Fence) String() string { return fenceNames[f] }

// ParseFence returns the fence of that exact name.
func ParseFence(name string) (Fence, bool) {
	for i, n := range fenceNames {
		if n == name {
			return Fence(i), true
		}
	}
	return None, false
}

// Decision is the fence of one Service and where it comes from.
type Decision struct {
	Fence Fence
	// By is the provenance, for example "service annotation", "namespace shop" or
	// "config scope.namespaces[2] (locked)".
	By string
	// Locked reports whether a locked entry of the FenceConfig matches the Service.
	Locked bool
	// Exempt reports whether meshfence never touches the Service: its Namespace is exempt, or it is the API server's.
	Exempt bool
	// Ignored names an annotation or label whose value is unknown and so counts as absent; empty otherwise.
	Ignored string
}
