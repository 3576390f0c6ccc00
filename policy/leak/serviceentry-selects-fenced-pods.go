package leak

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceEntrySelectsFencedPods refuses a ServiceEntry that gives the Pods of a strict Service another host: it
// chooses them in all clusters, and no hold knows that host [D4]. It warns of a selector that shares a label with the
// Service's and has another beside: Pods may have both, and Pods are not looked at. One without any label of the Service
// passes, because it is mostly meant for other Pods, unless it asks for nothing but a place: labels that istiod itself
// gives to Pods. One that asks for a cluster of this control plane chooses none of another. A strict host is left to
// serviceentry-fenced-host.
func serviceEntrySelectsFencedPods() Rule {
	return Rule{
		ID:      "serviceentry-selects-fenced-pods",
		Summary: "A ServiceEntry must not give the Pods of a strict Service another host.",
		Why: "A workloadSelector chooses Pods of all clusters. The host of the ServiceEntry leads to all of them, " +
			"and no hold knows that host. A selector that shares only some labels with the Service is warned of.",
		Fix:       "Call the Service by its own name, or select by a label that its Pods do not have.",
		Rows:      []string{"D4"},
		Kinds:     []string{object.KindServiceEntry},
		Severity:  Deny,
		Otherwise: "the host of this ServiceEntry leads to the Service's Pods in every cluster",
		Instead:   "call the Service by its own name, or select by a label that its Pods do not have",
		check: func(o Write, view *policy.View) []breach {
			selector := o.ServiceEntry.WorkloadSelector
			if selector == nil || slices.Contains(view.Config().Clusters, selector.Labels[policy.ClusterLabel]) {
				return nil
			}
			service, bound := view.StrictBound(o.Metadata.Namespace, selector.Labels)
			if own := withoutPlace(selector.Labels); !bound && len(own) == 0 {
				service, bound = view.StrictBound(o.Metadata.Namespace, own)
			}
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

// withoutPlace returns the labels of a selector apart from those that istiod gives to every Pod before it compares
// selectors (NewEndpointBuilder in Istio's pilot/pkg/serviceregistry/kube/controller and AugmentLabels in
// pilot/pkg/serviceregistry/util/label).
func withoutPlace(selector map[string]string) map[string]string {
	own := maps.Clone(selector)
	for _, key := range []string{
		policy.ClusterLabel, NetworkLabel, corev1.LabelTopologyRegion, corev1.LabelTopologyZone, subzoneLabel, corev1.LabelHostname,
	} {
		delete(own, key)
	}
	return own
}
