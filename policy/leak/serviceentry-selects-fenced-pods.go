package leak

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy"
)

// serviceEntrySelectsFencedPods refuses a ServiceEntry that gives the Pods of a strict Service another host: it
// chooses them in all clusters, and no hold knows that host [D4]. It warns of a selector that shares a label with the
// Service's and has another beside: Pods may have both, and Pods are not looked at. One without any label of the Service
// passes, because it is mostly meant for other Pods. A strict host is left to
// serviceentry-fenced-host.
func serviceEntrySelectsFencedPods() Rule {
	return Rule{
		ID:       "serviceentry-selects-fenced-pods",
		Rows:     []string{"D4"},
		Kinds:    []string{policy.KindServiceEntry},
		Severity: Deny,
		Leaks:    "the host of this ServiceEntry leads to the Service's Pods in every cluster",
		Mend:     "call the Service by its own name, or select by a label that its Pods do not have",
		check: func(o Write, view *policy.View) []breach {
			selector := o.ServiceEntry.WorkloadSelector
			if selector == nil {
				return nil
			}
			service, bound := view.StrictBound(o.Metadata.Namespace, selector.Labels)
			if !bound {
				var strict bool
				if service, strict = view.StrictOverlapping(o.Metadata.Namespace, selector.Labels); !strict {
					return nil
				}
			}
			var found []breach
			for _, h := range o.ServiceEntry.Hosts {
				if _, strict := claimedByEntry(h, o.Metadata.Namespace, view); strict {
					continue
				}
				found = append(found, breach{
					path:   []string{"spec", "workloadSelector", "labels"},
					value:  labels.FormatLabels(selector.Labels),
					at:     h,
					host:   service,
					unsure: !bound,
					must:   fmt.Sprintf("not choose the Pods of a strict Service for host %q", h),
				})
			}
			return found
		},
	}
}
