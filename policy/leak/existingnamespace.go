package leak

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// maxRouting is how many objects are judged in one request when a label makes the Services of a Namespace strict. The
// audit judges all.
const maxRouting = 500

// fenced returns what the routes and rules for the Services of a Namespace lead to, and what its other labels do, as
// warnings, where a label makes these strict that were not: among it the routes that are left without an endpoint. What the
// backfill repairs as soon as the label is now does not count.
func (g *Guard) fenced(w Write, view *policy.View) []Finding {
	name, after := w.Metadata.Name, w.Metadata.Labels
	var before map[string]string
	if w.Before() != nil {
		before = w.Before().Metadata.Labels
	}
	strict := func(labels map[string]string) bool {
		return view.ServiceUnder(labels, hostname.Host{Namespace: name}).Fence == policy.Strict
	}
	if w.Deleted || strict(before) || !strict(after) {
		return nil
	}
	related := view.Routing(name)
	judged := slices.Concat(related[:min(len(related), maxRouting)], []*object.Object{w.Object})
	view.LoadNamespace(name, after)
	now := make([][]hit, len(judged))
	for i, o := range judged {
		now[i] = g.hits(Write{Object: o}, view)
	}
	view.LoadNamespace(name, before)
	var list []Finding
	for i, o := range judged {
		if len(now[i]) == 0 {
			continue
		}
		fresh := slices.DeleteFunc(introduced(now[i], g.hits(Write{Object: o}, view)), func(h hit) bool { return h.repaired })
		for _, f := range findings(o, fresh) {
			f.Severity = Warn
			f.Elsewhere = true
			list = append(list, f)
		}
	}
	view.LoadNamespace(name, after)
	list = firstOfEach(list)
	if more := len(related) - maxRouting; more > 0 {
		list = append(list, unjudged(w.Object, more))
	}
	return list
}

// firstOfEach keeps the first findings of each rule, and counts the others.
func firstOfEach(list []Finding) []Finding {
	seen, last := map[string]int{}, map[string]int{}
	var kept []Finding
	for _, f := range list {
		if seen[f.Rule]++; seen[f.Rule] <= maxFindings {
			last[f.Rule] = len(kept)
			kept = append(kept, f)
		} else {
			kept[last[f.Rule]].More += 1 + f.More
		}
	}
	return kept
}

// unjudged is the finding that objects of a Namespace have not been looked at.
func unjudged(o *object.Object, more int) Finding {
	rule := routeWithoutEndpoint()
	return Finding{
		Rule: rule.ID, Severity: Warn,
		Object: object.Key{Kind: o.Kind, Namespace: o.Metadata.Name, Name: o.Metadata.Name}, Labels: o.Metadata.Labels,
		Path: object.Path{"metadata", "labels", policy.FenceKey}, Value: labels.Set(o.Metadata.Labels).String(),
		Must: fmt.Sprintf("be followed by a look at meshfence audit: %s more objects that route to its Services have not been judged here", count(more)),
	}
}
