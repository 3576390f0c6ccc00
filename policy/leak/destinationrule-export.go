package leak

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// destinationRuleExport refuses rules that leave some clients of a strict host without any. In the Service's own
// Namespace that is a rule which takes the place of the companion and is not for every Namespace [B3, B5]. In
// another one Istio looks no further than to what is there for the host; so beside a rule with a
// workloadSelector there must be one for the other clients, and exportTo must not be "." alone, because Istio
// merges that into the one with the selector (mergeDestinationRule in pilot/pkg/model/destination_rule.go) [B6].
func destinationRuleExport() Rule {
	return Rule{
		ID:      "destinationrule-export",
		Summary: "A DestinationRule for a strict host must not leave some clients without any rule.",
		Why: "Istio looks for a rule in the client's namespace, then in that of the Service, then in the root " +
			"namespace, and takes what it finds first. A rule in the namespace of the Service that is not " +
			"exported to everybody leaves the others with none. In another namespace a rule with a " +
			"workloadSelector, or with exportTo \".\", hides the companion from the clients that it does not " +
			"choose.",
		Fix: "In the namespace of the Service leave exportTo out, or put \"*\" into it. In another namespace keep a " +
			"rule without a workloadSelector beside the one that has one.",
		Rows:      []string{"B3", "B5", "B6"},
		Kinds:     []string{object.KindDestinationRule},
		Severity:  Deny,
		Otherwise: "clients that no rule applies to are sent to every cluster",
		check: func(o Write, view *policy.View) []breach {
			host, strict := strictHost(o.Object, view)
			if !strict {
				return nil
			}
			exportTo := breach{
				path:  []string{"spec", "exportTo"},
				value: strings.Join(slices.Sorted(slices.Values(o.DestinationRule.ExportTo)), ", "),
				host:  host,
			}
			if inNamespace(o.Object, view) {
				if len(inject.Replaced(o.Object, view.Config().ClusterDomain)) == 0 || object.Public(o.DestinationRule.ExportTo) {
					return nil
				}
				exportTo.must = `be absent or hold "*"`
				return []breach{exportTo}
			}
			own := o.Metadata.Namespace
			beside := append(rulesBeside(o.Object, view), o.Object)
			i := slices.IndexFunc(beside, func(r *object.Object) bool { return r.DestinationRule.WorkloadSelector != nil })
			switch {
			case i < 0 || slices.ContainsFunc(beside, func(r *object.Object) bool { return forOthers(r, view) }):
				return nil
			case o.DestinationRule.WorkloadSelector == nil && object.Public(o.DestinationRule.ExportTo):
				return nil // it hides from nobody, and the other one is what lets clients go without a rule
			case o.DestinationRule.WorkloadSelector == nil:
				exportTo.must = fmt.Sprintf("be %q beside DestinationRule %s, which has a workloadSelector", own, beside[i].Metadata.Name)
				return []breach{exportTo}
			}
			return []breach{{
				path:  []string{"spec", "workloadSelector"},
				value: labelList(o.DestinationRule.WorkloadSelector.MatchLabels),
				host:  host,
				must: fmt.Sprintf("be beside a rule for %s in namespace %s that has none, and has exportTo %q, for the other clients there",
					o.DestinationRule.Host, own, own),
			}}
		},
	}
}

// rulesBeside returns the other rules of the Namespace for the very same host, among which Istio chooses.
func rulesBeside(o *object.Object, view *policy.View) []*object.Object {
	domain := view.Config().ClusterDomain
	host := hostname.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, domain)
	var rules []*object.Object
	for _, other := range view.Covering(host) {
		if other.DestinationRule != nil && other.Metadata.Namespace == o.Metadata.Namespace && other.Key() != o.Key() &&
			hostname.Resolve(other.DestinationRule.Host, other.Metadata.Namespace, domain) == host {
			rules = append(rules, other)
		}
	}
	return rules
}

// forOthers reports whether every istiod takes the rule for clients of its Namespace that no workloadSelector chooses.
// To those in Istio's own Namespace it gives no rule that other Namespaces see (setDestinationRules and
// destinationRule in pilot/pkg/model/push_context.go).
func forOthers(o *object.Object, view *policy.View) bool {
	_, revision := o.Metadata.Labels[policy.RevisionLabel]
	if o.DestinationRule.WorkloadSelector != nil || revision {
		return false
	}
	own, exportTo := o.Metadata.Namespace, o.DestinationRule.ExportTo
	if own == view.Config().IstioNamespace {
		return len(exportTo) == 1 && exportTo[0] == own
	}
	return object.Public(exportTo) || slices.Contains(exportTo, own) || slices.Contains(exportTo, ".") && len(exportTo) > 1
}
