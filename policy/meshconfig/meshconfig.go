package meshconfig

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// ClusterLocalHostsAnnotation is the annotation on a mesh ConfigMap that records which hosts of its
// serviceSettings are meshfence's. Its value is opaque: [PlanText] takes it and returns the next one.
const ClusterLocalHostsAnnotation = "meshfence.io/cluster-local-hosts"

const (
	// NearlyFull is how much of what a ConfigMap may hold can be taken before that is told, of 1.
	NearlyFull = 0.75
	// Limit is what the API server lets all values of one ConfigMap take, in bytes.
	Limit = 1 << 20
	// annotationLimit leaves others a part of the 256 KiB that all annotations of an object may take.
	annotationLimit = 224 << 10
)

// Input is a mesh config and what hold meshConfig wants of it.
type Input struct {
	// Text is the YAML of the mesh config: data.mesh of Istio's ConfigMap.
	Text string
	// Owned is the value of ClusterLocalHostsAnnotation, empty where there is none.
	Owned string
	// Want are the entries that must be in force, as [policy.Index.ClusterLocal] returns them; none takes
	// everything of ours away.
	Want []policy.ClusterLocalEntry
	// Domain is the cluster domain.
	Domain string
	// Limit is how many bytes the text may take; 0 means [Limit]. The ConfigMap's other values
	// count against what the API server allows, so a caller subtracts them.
	Limit int
}

// Plan is a mesh config as it must be.
type Plan struct {
	// Text is the new text; it is the old one where nothing has to change.
	Text string
	// Owned is the new value of ClusterLocalHostsAnnotation; empty means that the annotation goes.
	Owned string
	// Contradictions are a user's own entries that say something else than Want, in the order of the text.
	Contradictions []Contradiction
	// Full is how much is taken of what the ConfigMap or the annotation may hold, whichever has less left: 1 is all of it.
	Full float64
}

// Contradiction is a user's own entry that says something else about a host than the scope does (F1).
type Contradiction struct {
	// Host is the entry's host, and Local what it says.
	Host  string
	Local bool
	// Line counts from 1, in the text that came in with our own entries taken out.
	Line int
	// Field is the path of the host below the mesh config.
	Field string
	// Overridden reports whether an entry of ours now says the opposite. It is false only for an entry that is
	// stricter than the scope inside a looser wildcard: that lets nothing out, and stays.
	Overridden bool
}

// String returns a sentence for events and messages.
func (c Contradiction) String() string {
	what := "which meshfence overrides"
	if !c.Overridden {
		what = "which stays, because it is stricter than the scope"
	}
	return fmt.Sprintf("%s: %q must not be clusterLocal: %t, %s", c.Field, c.Host, c.Local, what)
}

// TooLarge reports whether the entries do not fit. [policy.Index.FoldedClusterLocal] may yield fewer.
type TooLarge struct {
	// What is the part that is too large.
	What string
	// Size is what it would take and Limit what it may, in bytes; Hosts is how many hosts were to be ours.
	Size, Limit, Hosts int
}

// Error names the sizes.
func (e *TooLarge) Error() string {
	return fmt.Sprintf("%s must take at most %d bytes, and would take %d with the %d hosts that the scope needs",
		e.What, e.Limit, e.Size, e.Hosts)
}

// PlanText works out the text in which the effective serviceSettings say what Want says. Our entries are
// the last of the list, at most one with clusterLocal true and one with false, because the last one wins
// where a host is there twice, and every byte that is not ours stays as it is. A user's own entry that
// agrees is left alone, and we add none for that host; of hosts that share a list with a user's only ours
// are taken out. Without Want the text is, byte for byte, what it was before the first entry.
//
// Where a user's entry is more specific than ours and looser (Istio lets it win: docs/istio.md, section
// 1.1), ours gets one for the same host. An entry inside kube-system stays unless Want speaks of
// kube-system itself, because that Namespace is Istio's own affair.
//
// Applying it to its own result changes nothing, and applying it to a text that an installer has reset
// brings our entries back, whether or not the annotation survived. If only the annotation was lost, our
// entries count as a user's from then on.
//
// The error says what keeps the text from being edited: it does not parse, serviceSettings has the wrong
// shape, or it is a *TooLarge. Then the text must stay as it is.
func PlanText(in Input) (Plan, error) {
	old, err := parseMesh(in.Text)
	if err != nil {
		return Plan{}, err
	}
	base, err := old.without(parseMeshRecord(in.Owned))
	if err != nil {
		return Plan{}, err
	}
	ours, contradictions := oursOver(base.settings, in.Want, in.Domain)
	text, record, err := base.with(ours)
	if err != nil {
		return Plan{}, err
	}
	owned, err := record.value()
	if err != nil {
		return Plan{}, fmt.Errorf("encode the hosts of the mesh config: %w", err)
	}
	limit := cmp.Or(in.Limit, Limit)
	full := max(float64(Limit-limit+len(text))/Limit, float64(len(owned))/annotationLimit)
	plan := Plan{Text: text, Owned: owned, Contradictions: contradictions, Full: full}
	if len(text) > limit && len(text) > len(in.Text) {
		return Plan{}, &TooLarge{What: "the mesh config", Size: len(text), Limit: limit, Hosts: len(ours)}
	}
	if len(plan.Owned) > annotationLimit {
		return Plan{}, &TooLarge{What: "annotation " + ClusterLocalHostsAnnotation,
			Size: len(plan.Owned), Limit: annotationLimit, Hosts: len(ours)}
	}
	if text == in.Text {
		return plan, nil
	}
	if err := checkEdit(old, base, text, ours, record); err != nil {
		return Plan{}, err
	}
	return plan, nil
}

// oursOver lists the entries that must be behind a user's so that together they say what is wanted.
func oursOver(theirs []setting, want []policy.ClusterLocalEntry, domain string) ([]policy.ClusterLocalEntry, []Contradiction) {
	last := make(map[string]int, len(theirs))
	for i, s := range theirs {
		last[s.host] = i
	}
	wanted := newClusterLocal(len(want))
	var ours []policy.ClusterLocalEntry
	for _, w := range want {
		wanted.set(w.Host, w.Local)
		if i, ok := last[w.Host]; !ok || theirs[i].local != w.Local {
			ours = append(ours, w)
		}
	}
	var contradictions []Contradiction
	for i, s := range theirs {
		if last[s.host] != i {
			continue
		}
		by, local, ok := wanted.match(s.host)
		if !ok || local == s.local || leftToIstio(s.host, by, domain) {
			continue
		}
		same := by == s.host
		contradictions = append(contradictions, Contradiction{
			Host: s.host, Local: s.local, Line: s.line, Field: s.field(), Overridden: same || local,
		})
		if local && !same {
			ours = append(ours, policy.ClusterLocalEntry{Host: s.host, Local: true})
		}
	}
	return ours, contradictions
}

// leftToIstio reports whether a host lies in kube-system and the wanted entry that covers it is a wider one.
func leftToIstio(host, by, domain string) bool {
	suffix := ".kube-system.svc." + domain
	return strings.HasSuffix(host, suffix) && !strings.HasSuffix(by, suffix)
}

// checkEdit reads the new text again and fails unless it holds what the old one held and, last, our
// entries, and unless they can be taken out again. So no form of YAML that the edit does not understand can
// end in a text that says something else, or that keeps something of ours.
func checkEdit(old, base *meshText, text string, ours []policy.ClusterLocalEntry, record meshRecord) error {
	edited, err := parseMesh(text)
	if err != nil {
		return fmt.Errorf("mesh config cannot be edited in place: %w", err)
	}
	want := slices.Clip(base.settings)
	for _, e := range slices.Concat(withLocal(ours, true), withLocal(ours, false)) {
		want = append(want, setting{host: e.Host, local: e.Local})
	}
	if !slices.EqualFunc(want, edited.settings, sameSetting) || !edited.sameBut(old) {
		return errors.New(notUnderstood)
	}
	if again, err := edited.without(record); err != nil || again.text != base.text {
		return errors.New(notUnderstood)
	}
	return nil
}

func withLocal(entries []policy.ClusterLocalEntry, local bool) []policy.ClusterLocalEntry {
	var some []policy.ClusterLocalEntry
	for _, e := range entries {
		if e.Local == local {
			some = append(some, e)
		}
	}
	return some
}
