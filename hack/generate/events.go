package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// event is what the code cannot say of an Event by itself.
type event struct{ reason, about, says string }

// described are the Events of meshfence. That the code makes each of them, and no other, is checked.
func described() []event {
	return []event{
		{"Leak", "the object", "The audit found what admission would refuse, warn of or count now."},
		{"NotHeld", "the Service or its Namespace", "Nothing has held a strict Service for ten seconds; the note says what is missing."},
		{"NoLocalEndpoint", "the Namespace", "Strict Services have no ready endpoint in this cluster, and calls to them fail."},
		{"FenceLost", "the Service", "An update took the annotation away that fenced the Service."},
		{"ExemptionEnds", "the Namespace", "An exemption of the FenceConfig is in its last two weeks."},
		{"HoldNotActive", "the FenceConfig", "A hold that the FenceConfig names is broken or behind, as this replica sees it."},
		{"HoldActive", "the FenceConfig", "The hold is true again, or is not named any more (type Normal)."},
		{"UnknownLocalities", "the FenceConfig", "The Nodes do not give the localities of this cluster; the last good ones count, if there are any."},
		{"InvalidFenceConfig", "the FenceConfig", "A FenceConfig that is not valid is in the cluster; the last good one stays in force."},
		{"StaleFenceConfig", "the FenceConfig", "The replica has started with the last good FenceConfig."},
		{"FenceConfigDeleted", "the FenceConfig", "The FenceConfig was deleted; the last good one stays in force."},
		{"UnknownCluster", "the FenceConfig", "The FenceConfig names no cluster by which Istio knows this one; the note says by which it does."},
		{"ContradictsScope", "the mesh ConfigMap", "An entry of a user says something else than the scope."},
		{"ScopeNotHeld", "the mesh ConfigMap", "The ConfigMap cannot hold the scope; hold meshConfig does not hold strict Services."},
		{"NearlyFull", "the mesh ConfigMap", "Three quarters of what the ConfigMap may hold is taken; when it is full, further strict Services are not held by meshConfig."},
		{"WroteMeshConfig", "the mesh ConfigMap", "The controller wrote the entries itself, because admission did not."},
		{"CompanionNameTaken", "the Service", "An object for another host had the name of the companion, and was made the companion."},
		{"CompanionChanged", "the Service", "Another webhook changes the companion on its way to the store."},
		{"CompanionContested", "the Service", "Somebody else keeps changing the companion, and it is written ever more slowly."},
		{"RuleLacksSubset", "the Service", "The DestinationRule in the place of the companion has no reserved subset."},
		{"BackfillSkipped", "the object", "The backfill leaves the object as it is; the note says why."},
		{"BackfillFailed", "the object", "A write of the backfill failed; it is tried again."},
		{"BackfillUndone", "the object", "The object comes back from admission as it was, again and again."},
		{"ForeignWebhookConfiguration", "the webhook configuration", "The configuration calls another installation's Service, and is left to that one."},
		{"WebhookNotCalled", "the webhook configuration", "The API server does not call the webhook, as the leader has found twice in a row; the note says why."},
		{"ContestedCABundle", "the webhook configuration", "Somebody else keeps changing the caBundle."},
	}
}

// events makes the page of the Events. It fails if the code makes one that is not described, or one is described that
// the code does not make.
func (s source) events() (pages, error) {
	made, literals := s.reasons()
	var problems []error
	list := described()
	for _, reason := range slices.Sorted(maps.Keys(made)) {
		if !slices.ContainsFunc(list, func(e event) bool { return e.reason == reason }) {
			problems = append(problems, fmt.Errorf("describe the Event %s in hack/generate/events.go", reason))
		}
	}
	slices.SortFunc(list, func(a, b event) int { return strings.Compare(a.reason, b.reason) })
	var b bytes.Buffer
	b.WriteString(`# Events

` + "`make generate`" + ` writes this page, and checks that the code makes these Events and no others. Events of one kind on one
object are counted, not repeated. Those without a type are of type Warning.

| reason | about | what it says |
|---|---|---|
`)
	for _, e := range list {
		if !literals[e.reason] {
			problems = append(problems, fmt.Errorf("the code makes no Event %s: remove it from hack/generate/events.go", e.reason))
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", e.reason, e.about, e.says)
	}
	return pages{referenceFolder + "/events.md": b.Bytes()}, errors.Join(problems...)
}

// reasons returns the reasons of Events that the code names where it makes one, and every string of the code.
func (s source) reasons() (made, literals map[string]bool) {
	made, literals = map[string]bool{}, map[string]bool{}
	word := regexp.MustCompile(`^[A-Z][a-z]+[A-Za-z]*$`)
	add := func(e ast.Expr) {
		if reason := text(e); word.MatchString(reason) {
			made[reason] = true
		}
	}
	s.inspect(func(n ast.Node) {
		switch n := n.(type) {
		case *ast.BasicLit:
			literals[text(n)] = true
		case *ast.CallExpr:
			if function, ok := n.Fun.(*ast.SelectorExpr); ok && function.Sel.Name == "Eventf" && len(n.Args) > 3 {
				add(n.Args[3])
			}
		case *ast.ValueSpec:
			for i, name := range n.Names {
				if i < len(n.Values) && strings.HasPrefix(name.Name, "reason") {
					add(n.Values[i])
				}
			}
		case *ast.AssignStmt:
			for i, left := range n.Lhs {
				if name, ok := left.(*ast.Ident); ok && i < len(n.Rhs) && name.Name == "reason" {
					add(n.Rhs[i])
				}
			}
		}
	})
	return made, literals
}
