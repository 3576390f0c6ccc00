package leak

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy"
)

// serviceEntrySelectsFencedPods refuses a ServiceEntry that gives the Pods of a strict Service another host: it
// chooses them in all clusters, and no hold knows that host [D4]. A selector without any label of the Service
// passes, because it is mostly meant for other Pods, and Pods are not looked at. A strict host is left to
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
			service, strict := view.StrictOverlapping(o.Metadata.Namespace, selector.Labels)
			if !strict {
				return nil
			}
			var found []breach
			for _, h := range o.ServiceEntry.Hosts {
				if _, strict := claimedByEntry(h, o.Metadata.Namespace, view); strict {
					continue
				}
				found = append(found, breach{
					path:  []string{"spec", "workloadSelector", "labels"},
					value: labels.FormatLabels(selector.Labels),
					at:    h,
					host:  service,
					must:  fmt.Sprintf("not choose the Pods of a strict Service for host %q", h),
				})
			}
			return found
		},
	}
}
