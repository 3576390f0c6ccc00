package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
)

// caseResult is what admission makes of the object of a case.
type caseResult struct {
	outcome suite.Outcome
	// rules are those that find something: in what is stored, or in the object as it is where it is fixed.
	rules []string
	// denied, warned and audited are the findings in what is stored, and fixed those in the object as it is.
	denied, warned, audited, fixed []string
	stored                         []byte
}

// judgeCase treats the object of a case as admission would treat the request. The error says where it is.
func judgeCase(c suite.Case, guard *leak.Guard, rules []string, now time.Time) (caseResult, error) {
	index, err := caseIndex(c, rules)
	if err != nil {
		return caseResult{}, err
	}
	result := caseResult{outcome: suite.Passes, stored: c.Object.JSON}
	m, err := manifestOf(c, c.Object)
	if err != nil {
		return caseResult{}, err
	}
	kind, ok := admit.KindFor(m.groupKind().Group, m.groupKind().Kind)
	if !ok {
		return result, nil // admission does not see it
	}
	request := admit.Request{
		Kind: kind.Kind, Namespace: m.Namespace, Raw: c.Object.JSON, Deleted: c.Deleted(), Writer: c.Writer,
		Own: c.Writer == admit.OwnUser(policy.InstallNamespace),
	}
	if c.Old != nil {
		request.Old = c.Old.JSON
	}
	before, err := admit.ValidateBeside(request, guard, index, c.Pods(), now)
	if err != nil {
		return caseResult{}, fmt.Errorf("%s: %w", m.place, err)
	}
	admitted, err := admit.Admit(request, guard, index, c.Pods(), now)
	if err != nil {
		return caseResult{}, fmt.Errorf("%s: %w", m.place, err)
	}
	result.stored = admitted.Stored
	result.take(before, admitted.Verdict)
	return result, nil
}

// take works out the outcome from what is found before and after mutation.
func (r *caseResult) take(before, after leak.Verdict) {
	r.denied, r.warned, r.audited = texts(after.Denied), texts(after.Warned), texts(after.Audited)
	found := slices.Concat(after.Denied, after.Warned, after.Audited)
	switch {
	case len(r.denied) > 0:
		r.outcome = suite.Denied
	case len(r.warned) > 0:
		r.outcome = suite.Warned
	case len(r.audited) > 0:
		r.outcome = suite.Audited
	default:
		if found = slices.Concat(before.Denied, before.Warned, before.Audited); len(found) > 0 {
			r.outcome, r.fixed = suite.Fixed, texts(found)
		}
	}
	for _, f := range found {
		if !slices.Contains(r.rules, f.Rule) {
			r.rules = append(r.rules, f.Rule)
		}
	}
}

func texts(findings []leak.Finding) []string {
	var list []string
	for _, f := range findings {
		list = append(list, suite.Text(f.Field(), f.Message()))
	}
	return list
}

// differs says what is not as the case expects, and names the findings that are missing and those that it does not expect.
func (r caseResult) differs(c suite.Case) (text string, details []string) {
	want, got := c.Expect, describeOutcome(r.outcome, r.rules)
	missing := slices.DeleteFunc(slices.Clone(want.Rules), func(id string) bool { return slices.Contains(r.rules, id) })
	if want.Outcome != "" && (want.Outcome != r.outcome || len(missing) > 0) {
		return fmt.Sprintf("want %s, got %s", describeOutcome(want.Outcome, want.Rules), got), nil
	}
	if len(want.Denied)+len(want.Warned)+len(want.Audited)+len(want.Fixed) > 0 {
		details = slices.Concat(changes(want.Denied, r.denied), changes(want.Warned, r.warned),
			changes(want.Audited, r.audited), changes(want.Fixed, r.fixed))
		if len(details) > 0 {
			return fmt.Sprintf("want other findings (-want +got), got %s", got), details
		}
	}
	if c.Stored != nil && !sameJSON(c.Stored.JSON, r.stored) {
		return "want another object stored (-want +got)", []string{"- " + string(c.Stored.JSON), "+ " + string(r.stored)}
	}
	return "", nil
}

func describeOutcome(outcome suite.Outcome, rules []string) string {
	if len(rules) == 0 {
		return string(outcome)
	}
	return string(outcome) + " by " + strings.Join(rules, ", ")
}

// changes returns what is in one list alone, marked by - and +.
func changes(want, got []string) []string {
	var list []string
	for _, text := range want {
		if !slices.Contains(got, text) {
			list = append(list, "- "+text)
		}
	}
	for _, text := range got {
		if !slices.Contains(want, text) {
			list = append(list, "+ "+text)
		}
	}
	return list
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// caseIndex returns an index that knows the scene of a case and the object as it was.
func caseIndex(c suite.Case, rules []string) (*policy.Index, error) {
	config, err := policy.ParseConfig(policy.Source{File: "FenceConfig", Rules: rules}, c.Config)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", c.File, c.Line, err)
	}
	known := c.Scene
	if c.Old != nil {
		known = append(known[:len(known):len(known)], *c.Old)
	}
	manifests := make([]manifest, len(known))
	for i, d := range known {
		if manifests[i], err = manifestOf(c, d); err != nil {
			return nil, err
		}
	}
	return indexOf(manifests, config)
}

func manifestOf(c suite.Case, d suite.Document) (manifest, error) {
	m := manifest{place: place{File: c.File, Line: d.Line}, json: d.JSON}
	if err := unmarshal(d.JSON, &m.PartialObjectMetadata); err != nil {
		return manifest{}, fmt.Errorf("%s: %s must be a Kubernetes object: %w", m.place, d.Title(), err)
	}
	if m.Namespace == "" && !object.ClusterScoped(m.Kind) {
		m.Namespace = "default"
	}
	return m, nil
}
