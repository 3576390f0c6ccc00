package doctor

import (
	"fmt"
	"slices"
	"strings"
)

func checkCalled(o Observation) []Result {
	var results []Result
	var answered []string
	for _, p := range o.Probes {
		e := entries(o.Webhooks.Value.Validating)[p.Entry]
		switch {
		case p.Reply == Answered, p.Reply == Silent && e != nil && isFail(e.text("failurePolicy")):
			// What passed a webhook that fails closed was let pass by it.
			answered = append(answered, p.Entry)
		case p.Reply == Unreachable:
			results = append(results, failed(fmt.Sprintf("%s could not be called: %s", p.Entry, p.Text),
				"see the checks above; if they are fine, the API server does not reach the Pods: look at NetworkPolicies and firewalls for port 9443"))
		case p.Reply == Foreign:
			results = append(results, unknown(fmt.Errorf("the dry run for %s was refused by something else: %s", p.Entry, p.Text))...)
		case p.Audited && e != nil:
			results = append(results, ok("%s let a dry run pass, as it does under audit; it fails open, so that nothing shows whether it was called", p.Entry)...)
		default:
			results = append(results, failed(fmt.Sprintf("a dry run passed that %s should have changed, refused or warned of: the API server does not call it, or gets no answer", p.Entry),
				"see the checks above: replicas, webhooks, trusted"))
		}
	}
	return or(results, "%s answered", sorted(answered))
}

// namedRights is how many rights a result names.
const namedRights = 5

func checkRights(o Observation) []Result {
	if o.Rights.Err != nil {
		return unknown(o.Rights.Err)
	}
	var missing []string
	for _, r := range o.Rights.Value {
		if r.Denied {
			missing = append(missing, r.String())
		}
	}
	if len(missing) == 0 {
		return ok("the ServiceAccount has all of %d rights", len(o.Rights.Value))
	}
	text := strings.Join(missing[:min(len(missing), namedRights)], "; ")
	if more := len(missing) - namedRights; more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	return []Result{failed(fmt.Sprintf("the ServiceAccount lacks %d of %d rights: %s", len(missing), len(o.Rights.Value), text), applyAgain)}
}

// String says a right in words.
func (r Right) String() string {
	what := r.Resource
	if r.Group != "" {
		what += "." + r.Group
	}
	if r.Name != "" {
		what += " " + r.Name
	}
	if r.Namespace != "" {
		what += " in " + r.Namespace
	}
	return r.Verb + " " + what
}

func checkOthers(o Observation) []Result {
	if o.Others.Err != nil {
		return unknown(o.Others.Err)
	}
	var results []Result
	for _, other := range o.Others.Value {
		seen := other.Object
		if other.Service != "" {
			seen += " calls " + other.Service
		}
		results = append(results, failed("another installation: "+seen, "remove one of them: meshfence is installed once in a cluster"))
	}
	slices.SortFunc(results, func(a, b Result) int { return strings.Compare(a.Seen, b.Seen) })
	return or(results, "none")
}
