package inject

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// ist0173 is the message of istioctl analyze about subsets that select no pods, which it reports for every
// cluster label (row L8).
const ist0173 = "IST0173"

// ruleEditor collects what one DestinationRule needs.
type ruleEditor struct {
	Plan
	rule   *object.DestinationRule
	config *policy.Config
	// host is the strict host that the rule is for, preferred the prefer one.
	host, preferred policy.FencedHost
	// subsets are the names that the record knows the subsets by.
	subsets []string
	// had is what earlier admissions added, as recorded; has is what is there after this one.
	had, has record
	// unknown says why nobody knows the localities that hold locality needs.
	unknown error
	// bare reports whether a level that subsets inherit from ends up without outlierDetection.
	bare bool
}

// destinationRule makes the active holds true at every level of a DestinationRule that would drop them
// (docs/istio.md, section 2.2), and takes back what an earlier admission added and nothing needs now. A
// rule that covers strict and other hosts is left alone: neither adding nor taking back is right for all.
func destinationRule(o *object.Object, view *policy.View) Plan {
	config := view.Config()
	match := view.Match(hostname.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, config.ClusterDomain))
	strict, prefer := match.Only(policy.Strict), match.Only(policy.Prefer)
	if match.Has(policy.Strict) && !strict {
		return Plan{}
	}
	recorded, ok := o.Metadata.Annotations[policy.InjectedAnnotation]
	if !strict && !prefer && !ok && !slices.ContainsFunc(o.DestinationRule.Subsets, isReserved) {
		return Plan{} // nothing to add, and nothing of ours to take back
	}
	e := ruleEditor{rule: o.DestinationRule, config: config, had: parseRecord(recorded)}
	seen := names{}
	for _, s := range e.rule.Subsets {
		e.subsets = append(e.subsets, seen.next(s.Name))
	}
	if strict {
		e.host = match.Host(policy.Strict)
	}
	if prefer {
		e.preferred = match.Host(policy.Prefer)
	}
	e.subsetLabels(strict && config.Holds.Has(policy.Subset) && len(config.Clusters) == 1)
	var distribute []object.Distribute
	if strict && config.Holds.Has(policy.Locality) {
		distribute, e.unknown = Distribute(config)
	}
	if len(distribute) > 0 || e.unknown != nil || prefer || len(e.had.Levels) > 0 { // there is something to add, or to take back
		for _, l := range levels(e.rule, e.subsets) {
			e.level(l, distribute, prefer)
		}
	}
	var reserved map[string]string
	if strict {
		reserved = neededSubsets(e.rule.Host, o.Metadata.Namespace, view)
	}
	e.reservedSubsets(reserved)
	message := func(is bool) string {
		if is {
			return ist0173
		}
		return ""
	}
	wanted := message(len(e.has.Labels) > 0 || len(reserved) > 0)
	e.has.Suppress = e.suppress(o.Metadata.Annotations[analyzeSuppress], wanted, message(e.had.Suppress)) != ""
	e.setString([]string{"metadata", "annotations"}, policy.InjectedAnnotation, o.Metadata.Annotations, e.has.String())
	return e.Plan
}

// neededSubsets returns the reserved subsets that something leads to: that of this cluster where subset is the only
// active hold, and where there are several control plane clusters those that a VirtualService names. An item that
// nothing needs would show as drift in every tool that compares lists.
func neededSubsets(host, namespace string, view *policy.View) map[string]string {
	config := view.Config()
	subsets := policy.ReservedSubsets(config.Clusters)
	switch {
	case !config.Holds.Has(policy.Subset):
		return nil
	case len(config.Clusters) == 1 && config.Active().Only(policy.Subset):
		return subsets
	case len(config.Clusters) == 1:
		return nil
	}
	host = hostname.Resolve(host, namespace, config.ClusterDomain)
	named := map[string]string{}
	for _, o := range view.Covering(host) {
		if o.VirtualService == nil {
			continue
		}
		for _, d := range o.VirtualService.Destinations() {
			cluster, reserved := subsets[d.Subset]
			if reserved && hostname.Resolve(d.Host, o.Metadata.Namespace, config.ClusterDomain) == host {
				named[d.Subset] = cluster
			}
		}
	}
	return named
}

// subsetLabels puts the cluster label on every subset that has none (row B8). A label that names another
// cluster stays: the guard judges it.
func (e *ruleEditor) subsetLabels(wanted bool) {
	cluster := e.config.Clusters[0]
	must := fmt.Sprintf("be %q", cluster)
	for i, s := range e.rule.Subsets {
		value, present := s.Labels[policy.ClusterLabel]
		ours := e.labelled(i)
		switch {
		case wanted && (!present || ours && value != cluster):
			path := subsetLabel(i)
			e.add(path, cluster)
			e.has.label(e.subsets[i], cluster)
			e.gap(policy.Subset, path, value, "subset "+e.subsets[i], must)
		case wanted && ours:
			e.has.label(e.subsets[i], cluster)
		case ours:
			e.remove(subsetLabel(i), 1)
		}
	}
}

func subsetLabel(i int) []string {
	return []string{"spec", "subsets", strconv.Itoa(i), "labels", policy.ClusterLabel}
}

// labelled reports whether an earlier admission gave a user's subset its cluster label.
func (e *ruleEditor) labelled(i int) bool {
	value, present := e.rule.Subsets[i].Labels[policy.ClusterLabel]
	had, recorded := e.had.Labels[e.subsets[i]]
	return present && recorded && had == value
}

// level makes the holds true at one level.
func (e *ruleEditor) level(l level, distribute []object.Distribute, prefer bool) {
	had := e.had.Levels[l.id]
	var has added
	e.distribute(l, had, &has, distribute)
	e.prefer(l, had, &has, prefer)
	if !has.any() {
		return
	}
	if has.Created = l.create(); had.any() {
		has.Created = max(has.Created, l.created(had))
	}
	e.has.level(l.id, has)
}

// reservedSubsets adds the reserved subsets that are missing, fixes their labels and removes those that
// have no use.
func (e *ruleEditor) reservedSubsets(wanted map[string]string) {
	found := map[string]bool{}
	for i, s := range slices.Backward(e.rule.Subsets) {
		cluster, ok := wanted[s.Name]
		found[s.Name] = true
		switch reserved := isReserved(s) && !e.labelled(i); {
		case reserved && !ok:
			e.Dropped = append(e.Dropped, s.Name)
			e.remove([]string{"spec", "subsets", strconv.Itoa(i)}, 1)
		case reserved && s.Labels[policy.ClusterLabel] != cluster:
			e.add(subsetLabel(i), cluster)
			e.gap(policy.Subset, subsetLabel(i), s.Labels[policy.ClusterLabel], "subset "+s.Name, fmt.Sprintf("be %q", cluster))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if found[name] {
			continue
		}
		path := []string{"spec", "subsets", "-"}
		e.add(path, map[string]any{"name": name, "labels": map[string]any{policy.ClusterLabel: wanted[name]}})
		e.gap(policy.Subset, path[:2], name, "subset "+name,
			fmt.Sprintf("hold a subset %q with the label %s: %s", name, policy.ClusterLabel, wanted[name]))
	}
}

// isReserved reports whether a subset has the name and the shape of the reserved ones; any other is a user's.
func isReserved(s object.RuleSubset) bool {
	_, labelled := s.Labels[policy.ClusterLabel]
	return policy.IsReservedSubset(s.Name) && labelled && len(s.Labels) == 1 && s.TrafficPolicy == nil
}

// gap reports what hold subset or locality lacks.
func (e *ruleEditor) gap(hold policy.Hold, path object.Path, value any, at, must string) {
	lacking := LacksSubset
	if hold == policy.Locality {
		lacking = LacksDistribution
	}
	e.Gaps = append(e.Gaps, Gap{Lacking: lacking, Hold: hold, Path: path, Value: value, At: at, Host: e.host, Must: must})
}
