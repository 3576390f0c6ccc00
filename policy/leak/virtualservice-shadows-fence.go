package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// virtualServiceShadowsFence refuses a VirtualService that takes the place of a companion and has no route for some
// client or port of a strict host, where subset is the only hold: Istio sends those to no subset [A3, C7, C9].
func virtualServiceShadowsFence() Rule {
	return Rule{
		ID: "virtualservice-shadows-fence",
		Summary: "A VirtualService in the place of a companion must have a route for every client and port of a " +
			"strict host, where subset is the only hold.",
		Why: "What no route matches goes to the default route, which names no subset. Admission adds the missing " +
			"routes.",
		Fix:       "Let no other webhook take out what admission adds, or write the routes.",
		Rows:      []string{"A3", "C7", "C9"},
		Kinds:     []string{object.KindVirtualService},
		Severity:  Deny,
		Otherwise: "what no route is for goes to every cluster",
		Instead:   "let no other webhook take out what admission adds, or write the routes",
		check: func(o Write, view *policy.View) []breach {
			return gaps(o, view, lacksRoutes)
		},
	}
}

// lacksRoutes tells a whole section of a VirtualService that lacks routes from a destination that lacks a subset.
func lacksRoutes(g inject.Gap) bool { return g.Lacking == inject.LacksRoutes }
