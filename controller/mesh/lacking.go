package mesh

import (
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// Rule is a stored DestinationRule that is for a host.
type Rule struct {
	Name string
	// Reserved reports whether it has the reserved subset.
	Reserved bool
}

// RuleOf returns what a DestinationRule is.
func (m *Mesh) RuleOf(o *object.Object) Rule {
	return Rule{o.Metadata.Name, inject.HasReserved(o.DestinationRule, m.Index.Config())}
}

// RulesFor lists the DestinationRules for a Service that are its companion, or take its place.
func (m *Mesh) RulesFor(host hostname.Host) []Rule {
	var rules []Rule
	for _, o := range m.About(host.FQDN(m.Index.Config().ClusterDomain)) {
		if o.DestinationRule != nil && m.Replaces(o, host) {
			rules = append(rules, m.RuleOf(o))
		}
	}
	return rules
}

// Lacking returns the name of a DestinationRule without the reserved subset, among those that are for a host; empty
// where all have it. A route to the subset would find no endpoint for the clients to whom Istio gives that rule:
// which one that is of several depends on their age and on exportTo (row B5).
func Lacking(rules []Rule) string {
	for _, r := range rules {
		if !r.Reserved {
			return r.Name
		}
	}
	return ""
}
