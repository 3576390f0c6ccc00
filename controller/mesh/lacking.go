package mesh

import (
	"context"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
)

// Rule is a stored DestinationRule that is for a host.
type Rule struct {
	Name string
	// Reserved reports whether it has the reserved subset.
	Reserved bool
}

// RuleOf returns what a cached DestinationRule is.
func (m *Mesh) RuleOf(rule *unstructured.Unstructured) Rule {
	return Rule{rule.GetName(), m.hasReserved(rule)}
}

func (m *Mesh) hasReserved(rule *unstructured.Unstructured) bool {
	if !IsCompanion(rule) {
		return len(values(rule, reservedField)) > 0
	}
	decoded, err := decode(rule)
	return err == nil && inject.HasReserved(decoded.DestinationRule, m.Index.Config())
}

// Sections lists the sections of which a VirtualService has routes of its own.
func Sections(route *unstructured.Unstructured) []string { return values(route, sectionsField) }

// RulesFor lists the cached DestinationRules for a Service that are its companion, or take its place.
func (m *Mesh) RulesFor(ctx context.Context, host hostname.Host) ([]Rule, error) {
	cached, err := m.About(ctx, m.Kinds.Rule, host)
	if err != nil {
		return nil, err
	}
	var rules []Rule
	for i := range cached {
		if m.Replaces(&cached[i], host) {
			rules = append(rules, m.RuleOf(&cached[i]))
		}
	}
	return rules, nil
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
