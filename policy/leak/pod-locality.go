package leak

import (
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// podLocality refuses a Pod of a strict Service that says that it is in a locality which is none of this
// cluster's: the clients there take it for one of theirs [E7, D7].
func podLocality() Rule {
	return Rule{
		ID:      "pod-locality",
		Summary: "A Pod of a strict Service must not say that it is in a locality of another cluster.",
		Why: "Hold locality tells clusters apart by their localities. A label on the Pod replaces the labels of " +
			"its Node. The Pod then counts as one of the other cluster, and gets the traffic of the clients " +
			"there.",
		Fix:       "Remove the label, so that the labels of the Node count.",
		Rows:      []string{"E7", "D7"},
		Kinds:     []string{object.KindPod},
		Severity:  Deny,
		Otherwise: "hold locality takes the Pod for one of another cluster, and sends it the traffic from there",
		Instead:   "remove the label, so that the labels of the Node count",
		check: func(o Write, view *policy.View) []breach {
			label, value := podLocalityLabel(o.Metadata.Labels)
			if value == "" || view.Config().HasLocality(strings.ReplaceAll(value, ".", "/")) {
				return nil
			}
			host, strict := view.StrictSelecting(o.Metadata.Namespace, o.Metadata.Labels)
			if !strict {
				return nil
			}
			return []breach{{
				path:  []string{"metadata", "labels", label},
				value: value,
				host:  host,
				must:  "be one of the localities of this control plane, with dots for slashes",
			}}
		},
	}
}

// podLocalityLabel returns the label that counts: the short one only where the other is absent
// (GetLocalityLabel in Istio's pkg/model/proxy.go).
func podLocalityLabel(labels map[string]string) (label, value string) {
	if value, ok := labels[localityLabel]; ok {
		return localityLabel, value
	}
	return shortLocalityLabel, labels[shortLocalityLabel]
}
