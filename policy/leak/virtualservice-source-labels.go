package leak

import (
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// virtualServiceSourceLabels warns of a match in a VirtualService of a strict host that says both which clients
// and which gateways it is for: Istio then looks at the gateways alone (sourceMatchHTTP in
// pilot/pkg/networking/core/route) [C8, C9].
func virtualServiceSourceLabels() Rule {
	return Rule{
		ID:      "virtualservice-source-labels",
		Summary: "A match in a VirtualService of a strict host should not have both sourceLabels and gateways.",
		Why: "For HTTP, Istio looks at the gateways alone where both are there. The route is then for every " +
			"client of those gateways, and for the whole mesh if that is one of them.",
		Fix:       "Remove gateways from the match, or write a VirtualService for those gateways alone.",
		Rows:      []string{"C8", "C9"},
		Kinds:     []string{object.KindVirtualService},
		Severity:  Warn,
		Otherwise: "the route is for every client of those gateways, and of the mesh where that is one of them",
		Instead:   "remove gateways from the match, or write a VirtualService for them alone",
		check: func(o Write, view *policy.View) []breach {
			taken := bySection(o.takenOver(view), sectionHTTP)
			if len(taken) == 0 {
				return nil
			}
			var found []breach
			for i, route := range o.VirtualService.HTTP {
				for j, match := range route.Match {
					field, value := "sourceLabels", labelList(match.SourceLabels)
					if value == "" {
						field, value = "sourceNamespace", match.SourceNamespace
					}
					if value == "" || len(match.Gateways) == 0 {
						continue
					}
					found = append(found, breach{
						path:  []string{"spec", "http", strconv.Itoa(i), "match", strconv.Itoa(j), field},
						value: value,
						at:    strings.Join(match.Gateways, ","),
						host:  together(taken),
						must:  "not be set beside gateways, because Istio does not look at it there",
					})
				}
			}
			return found
		},
	}
}
