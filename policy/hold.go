package policy

import "strings"

// Hold is an Istio mechanism that makes a fence true on the wire.
type Hold uint8

const (
	// MeshConfig keeps serviceSettings[].settings.clusterLocal of the mesh ConfigMap equal to the scope.
	MeshConfig Hold = 1 << iota
	// Locality puts localityLbSetting.distribute into DestinationRules.
	Locality
	// Subset puts the label topology.istio.io/cluster on the subsets of DestinationRules.
	Subset
)

//nolint:gochecknoglobals // a table that nothing writes
var holdNames = []struct {
	hold Hold
	name string
}{{MeshConfig, "meshConfig"}, {Locality, "locality"}, {Subset, "subset"}}

// Holds is a set of holds.
type Holds uint8

// HoldsOf returns the set of the given holds.
func HoldsOf(holds ...Hold) Holds {
	var set Holds
	for _, h := range holds {
		set |= Holds(h)
	}
	return set
}

// Has reports whether h is in the set.
func (s Holds) Has(h Hold) bool { return s&Holds(h) != 0 }

// Only reports whether h is the one hold in the set.
func (s Holds) Only(h Hold) bool { return s == Holds(h) }

// Routing returns the holds that keep in what takes no subset too: subset does so only where it is the only
// hold, because beside another one it leaves routes as they are.
func (s Holds) Routing() Holds {
	if s.Only(Subset) {
		return s
	}
	return s &^ Holds(Subset)
}

// Intersects reports whether the two sets share a hold.
func (s Holds) Intersects(other Holds) bool { return s&other != 0 }

// Names lists the holds of the set as the FenceConfig spells them.
func (s Holds) Names() []string {
	var names []string
	for _, h := range holdNames {
		if s.Has(h.hold) {
			names = append(names, h.name)
		}
	}
	return names
}

// String joins the names with a comma.
func (s Holds) String() string { return strings.Join(s.Names(), ", ") }

// ParseHold returns the hold of that exact name.
func ParseHold(name string) (Hold, bool) {
	for _, h := range holdNames {
		if h.name == name {
			return h.hold, true
		}
	}
	return 0, false
}

// ReservedSubset is the subset of the one control plane cluster. Where there are several, each has one of
// its own; see [ReservedSubsets].
const ReservedSubset = reservedPrefix + "local"

const reservedPrefix = "meshfence-"

// ReservedSubsets maps the names of the subsets that hold subset adds to the cluster that each selects.
func ReservedSubsets(clusters []string) map[string]string {
	if len(clusters) == 1 {
		return map[string]string{ReservedSubset: clusters[0]}
	}
	subsets := make(map[string]string, len(clusters))
	for _, c := range clusters {
		subsets[reservedPrefix+c] = c
	}
	return subsets
}

// IsReservedSubset reports whether only meshfence may define a subset of that name.
func IsReservedSubset(name string) bool { return strings.HasPrefix(name, reservedPrefix) }
