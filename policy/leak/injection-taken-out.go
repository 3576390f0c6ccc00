package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// injectionTakenOut warns of an object that is written without what admission adds to it, where that is no leak: another
// webhook takes it out again, or admission was not asked. What leaks without it is refused by other rules. Of an object
// that exists nobody can tell: it may be older than its fence.
func injectionTakenOut() Rule {
	return Rule{
		ID:      "injection-taken-out",
		Summary: "An object should be stored with what admission adds to it.",
		Why: "Another webhook took out again what admission added, or the mutating webhook was not asked. What " +
			"rests on it does not hold, and the controller sends the object through admission again in vain. " +
			"Where something leaks for that reason, another rule refuses it.",
		Fix:       "Let no other webhook take out what admission adds.",
		Kinds:     []string{object.KindService, object.KindDestinationRule, object.KindVirtualService},
		Severity:  Warn,
		Otherwise: "what rests on it does not hold, and the controller sends the object through admission again in vain",
		Instead:   "let no other webhook take out what admission adds",
		check: func(o Write, view *policy.View) []breach {
			if o.Writer == "" {
				return nil
			}
			plan := o.gaps.of(o.Object, view)
			if len(plan.Edits) == 0 || len(plan.Gaps) > 0 && !view.Config().Active().Has(policy.MeshConfig) {
				return nil
			}
			edit := plan.Edits[0]
			return []breach{{path: place(edit.Path), host: injectedHost(o.Object, plan, view), must: asAdmission(edit)}}
		},
	}
}

// place returns a path without the end that appends to a list.
func place(path object.Path) []string {
	if last := len(path) - 1; path[last] == "-" {
		return path[:last]
	}
	return path
}

// asAdmission completes "must" for what admission makes of a place.
func asAdmission(e inject.Edit) string {
	const why = "as admission makes it: something takes that out again, or admission was not asked"
	if text, ok := e.Value.(string); ok {
		return fmt.Sprintf("be %q, %s", text, why)
	}
	if e.Value == nil {
		return "be absent, " + why
	}
	return "be " + why
}

// injectedHost returns the fenced host because of which admission changes an object; none where it takes back what no
// fence needs any more.
func injectedHost(o *object.Object, plan inject.Plan, view *policy.View) policy.FencedHost {
	switch {
	case len(plan.Gaps) > 0:
		return plan.Gaps[0].Host
	case o.VirtualService != nil:
		return policy.FencedHost{}
	}
	host := hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}.FQDN(view.Config().ClusterDomain)
	if o.DestinationRule != nil {
		host = hostname.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, view.Config().ClusterDomain)
	}
	match := view.Match(host)
	for _, fence := range []policy.Fence{policy.Strict, policy.Prefer} {
		if match.Has(fence) {
			return match.Host(fence)
		}
	}
	return policy.FencedHost{}
}
