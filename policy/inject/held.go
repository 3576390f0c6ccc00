package inject

import (
	"fmt"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// The reasons why a hold does not keep in the traffic of a strict host. They are labels of a metric.
const (
	LackMeshConfigBehind = "mesh-config-behind"
	LackMeshConfigBroken = "mesh-config-broken"
	LackLocalities       = "localities-unknown"
	LackCompanion        = "companion-missing"
	LackCompanionName    = "companion-name-taken"
	LackDistribute       = "rule-without-distribute"
	LackSubset           = "rule-without-subset"
	LackRuleExport       = "rule-not-exported"
	LackRoute            = "route-missing"
	LackRouteSubset      = "route-without-subset"
)

// Lacks lists every reason.
func Lacks() []string {
	return []string{
		LackMeshConfigBehind, LackMeshConfigBroken, LackLocalities, LackCompanion, LackCompanionName,
		LackDistribute, LackSubset, LackRuleExport, LackRoute, LackRouteSubset,
	}
}

// Lack is one thing for want of which a hold does not keep in the traffic of a strict host.
type Lack struct {
	// Reason is one of [Lacks].
	Reason string `json:"reason"`
	// Message is a sentence without its dot.
	Message string `json:"message"`
}

// Held returns the holds that keep in the traffic of a strict host right now, by the mesh ConfigMaps and by the
// objects that the view knows. Where there is none it says what each of the named holds lacks. Subset holds what
// takes no subset only where it is the only active hold, and is asked for nothing otherwise.
func Held(host hostname.Host, view *policy.View) (held policy.Holds, lacks []Lack) {
	config := view.Config()
	h := heldHost{host: host, fqdn: host.FQDN(config.ClusterDomain), view: view}
	for _, hold := range config.Holds.Each() {
		var missing []Lack
		switch {
		case hold == policy.MeshConfig:
			missing = h.meshConfig(config.Fault(hold))
		case hold == policy.Locality:
			missing = h.locality(config.Fault(hold))
		case config.Active().Only(policy.Subset):
			missing = h.subset()
		default:
			continue
		}
		if len(missing) == 0 {
			held |= policy.Holds(hold)
		}
		lacks = append(lacks, missing...)
	}
	if held != 0 {
		return held, nil
	}
	return 0, lacks
}

// heldHost is a strict host that is asked about.
type heldHost struct {
	host hostname.Host
	fqdn string
	view *policy.View
}

func (h heldHost) meshConfig(fault *policy.HoldFault) []Lack {
	switch {
	case fault.Keeps(h.fqdn):
		return nil
	case fault.Behind:
		return []Lack{{LackMeshConfigBehind, fault.Reason}}
	}
	return []Lack{{LackMeshConfigBroken, fault.Reason}}
}

func (h heldHost) locality(fault *policy.HoldFault) []Lack {
	if fault != nil {
		return []Lack{{LackLocalities, fault.Reason}}
	}
	return slices.Concat(
		h.lacks(object.KindDestinationRule, LackCompanion), h.gaps(object.KindDestinationRule, policy.Locality, LackDistribute), h.private(),
	)
}

// private returns the rules that take the place of the companion and are not for every Namespace: the clients in others
// have none (row B3). Where they are sent to a subset they reach nothing instead.
func (h heldHost) private() []Lack {
	var lacks []Lack
	for _, o := range h.view.Covering(h.fqdn) {
		if o.DestinationRule == nil || !h.replaced(o) || object.Public(o.DestinationRule.ExportTo) {
			continue
		}
		lacks = append(lacks, Lack{LackRuleExport, fmt.Sprintf("DestinationRule %s/%s: exportTo must be absent or hold \"*\"", o.Metadata.Namespace, o.Metadata.Name)})
	}
	return lacks
}

func (h heldHost) subset() []Lack {
	return slices.Concat(
		h.lacks(object.KindDestinationRule, LackCompanion), h.gaps(object.KindDestinationRule, policy.Subset, LackSubset),
		h.lacks(object.KindVirtualService, LackRoute), h.gaps(object.KindVirtualService, policy.Subset, LackRouteSubset),
	)
}

// lacks returns nothing where there is the companion of a kind, or what takes its place.
func (h heldHost) lacks(kind, reason string) []Lack {
	name := CompanionName(h.host.Name)
	named, taken := h.view.Object(object.Key{Kind: kind, Namespace: h.host.Namespace, Name: name})
	if taken && IsCompanion(name, named.Metadata.Labels) {
		return nil
	}
	for _, o := range h.view.Covering(h.fqdn) {
		if o.Kind == kind && h.replaced(o) {
			return nil
		}
	}
	if taken {
		return []Lack{{LackCompanionName, fmt.Sprintf("the name of %s %s/%s, which the fence needs, is taken by an object of somebody else",
			kind, h.host.Namespace, name)}}
	}
	return []Lack{{reason, fmt.Sprintf("%s %s/%s, which the fence needs, is missing", kind, h.host.Namespace, name)}}
}

// gaps returns the places where the objects of a kind that stand for the host do not do what a hold needs.
func (h heldHost) gaps(kind string, hold policy.Hold, reason string) []Lack {
	var lacks []Lack
	for _, o := range h.view.Covering(h.fqdn) {
		if o.Kind != kind {
			continue
		}
		for _, g := range Object(o, h.view).Gaps {
			if g.Hold == hold && (kind == object.KindDestinationRule || g.Host.Host == h.fqdn) {
				lacks = append(lacks, Lack{reason, fmt.Sprintf("%s %s/%s: %s must %s", kind, o.Metadata.Namespace, o.Metadata.Name, g.At, g.Must)})
			}
		}
	}
	return lacks
}

// replaced reports whether an object takes the place of a companion of the host.
func (h heldHost) replaced(o *object.Object) bool {
	return slices.Contains(Replaced(o, h.view.Config().ClusterDomain), h.host)
}
