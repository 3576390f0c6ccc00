package inject

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// analyzeSuppress is the annotation that silences istioctl analyze; IST0173 is its message about subsets
// that select no pods, which it reports for every cluster label (row L8).
const (
	analyzeSuppress = "galley.istio.io/analyze-suppress"
	ist0173         = "IST0173"
)

// ruleEditor collects what one DestinationRule needs.
type ruleEditor struct {
	Plan
	rule   *policy.DestinationRule
	config *policy.Config
	host   policy.FencedHost
	// had is what earlier admissions added, as recorded; has is what stands after this one.
	had, has record
}

// destinationRule makes the active holds true at every level of a DestinationRule that would drop them
// (section 2.2 of the catalogue), and takes back what an earlier admission added and nothing needs now. A
// rule that covers strict and other hosts is left alone.
func destinationRule(o *policy.Object, view *policy.View) Plan {
	config := view.Config()
	match := view.Match(policy.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, config.ClusterDomain))
	e := ruleEditor{rule: o.DestinationRule, config: config, had: parseRecord(o.Metadata.Annotations[policy.InjectedAnnotation])}
	strict, prefer := match.Only(policy.Strict), match.Only(policy.Prefer)
	if strict {
		e.host = match.Host(policy.Strict)
	}
	e.subsetLabels(strict && config.Holds.Has(policy.Subset) && len(config.Clusters) == 1)
	var distribute []policy.Distribute
	if strict && config.Holds.Has(policy.Locality) {
		distribute = Distribute(config)
	}
	for _, l := range levels(o.DestinationRule) {
		e.distribute(l, distribute)
		e.prefer(l, prefer)
	}
	var reserved map[string]string
	if strict && config.Holds.Has(policy.Subset) {
		reserved = policy.ReservedSubsets(config.Clusters)
	}
	e.reservedSubsets(reserved)
	e.suppress(o.Metadata.Annotations[analyzeSuppress], len(e.has.Labels) > 0 || len(reserved) > 0)
	e.setString([]string{"metadata", "annotations"}, policy.InjectedAnnotation, o.Metadata.Annotations, e.has.String())
	return e.Plan
}

// subsetLabels puts the cluster label on every subset that has none (row B8). A label that names another
// cluster stays: the guard judges it.
func (e *ruleEditor) subsetLabels(wanted bool) {
	cluster := e.config.Clusters[0]
	for i, s := range e.rule.Subsets {
		path := []string{"spec", "subsets", strconv.Itoa(i), "labels", policy.ClusterLabel}
		value, present := s.Labels[policy.ClusterLabel]
		ours := present && e.had.Labels[s.Name] == value
		switch {
		case wanted && (!present || ours && value != cluster):
			e.Edits = append(e.Edits, Edit{Path: path, Value: cluster})
			e.has.label(s.Name, cluster)
			e.gap(policy.Subset, path, value, "subset "+s.Name, fmt.Sprintf("be %q", cluster))
		case wanted && ours:
			e.has.label(s.Name, cluster)
		case ours:
			e.Edits = append(e.Edits, Edit{Path: path, Prune: 1})
		}
	}
}

// reservedSubsets adds the reserved subsets that are missing and removes those that have no use.
func (e *ruleEditor) reservedSubsets(wanted map[string]string) {
	found := map[string]bool{}
	for i := len(e.rule.Subsets) - 1; i >= 0; i-- {
		name := e.rule.Subsets[i].Name
		if _, ok := wanted[name]; ok {
			found[name] = true
		} else if isReserved(e.rule.Subsets[i]) {
			e.Edits = append(e.Edits, Edit{Path: []string{"spec", "subsets", strconv.Itoa(i)}, Prune: 1})
		}
	}
	for _, name := range sortedKeys(wanted) {
		if found[name] {
			continue
		}
		path := []string{"spec", "subsets", "-"}
		e.Edits = append(e.Edits, Edit{Path: path, Value: map[string]any{
			"name":   name,
			"labels": map[string]any{policy.ClusterLabel: wanted[name]},
		}})
		e.gap(policy.Subset, path[:2], name, "subset "+name, fmt.Sprintf("hold a subset %q with the label %s: %s",
			name, policy.ClusterLabel, wanted[name]))
	}
}

// isReserved says that a subset has the name and the shape of the reserved ones; any other is a person's.
func isReserved(s policy.RuleSubset) bool {
	_, labelled := s.Labels[policy.ClusterLabel]
	return policy.IsReservedSubset(s.Name) && labelled && len(s.Labels) == 1 && s.TrafficPolicy == nil
}

func (e *ruleEditor) gap(hold policy.Hold, path []string, value any, at, must string) {
	e.Gaps = append(e.Gaps, Gap{Hold: hold, Path: path, Value: value, At: at, Host: e.host, Must: must})
}

// suppress keeps IST0173 in the list of suppressed messages while there are cluster labels of ours.
func (e *ruleEditor) suppress(list string, wanted bool) {
	path := []string{"metadata", "annotations", analyzeSuppress}
	codes := splitList(list)
	i := slices.Index(codes, ist0173)
	switch {
	case wanted && i < 0:
		e.Edits = append(e.Edits, Edit{Path: path, Value: strings.Join(append(codes, ist0173), ",")})
		e.has.Suppress = true
	case wanted:
		e.has.Suppress = e.had.Suppress
	case e.had.Suppress && i >= 0:
		if rest := strings.Join(slices.Delete(codes, i, i+1), ","); rest != "" {
			e.Edits = append(e.Edits, Edit{Path: path, Value: rest})
		} else {
			e.Edits = append(e.Edits, Edit{Path: path, Prune: 1})
		}
	}
}
