package leak

import (
	"cmp"
	"slices"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Verdict sorts the findings of one object by what becomes of them.
type Verdict struct {
	// Denied findings refuse the request.
	Denied []Finding
	// Warned findings let it through with a warning.
	Warned []Finding
	// Audited findings are only counted and recorded.
	Audited []Finding
	// Exempted findings have been accepted by an exemption of the FenceConfig.
	Exempted []Finding
}

// The outcomes of findings: labels of metrics and keys of audit annotations.
const (
	OutcomeDenied   = "denied"
	OutcomeWarned   = "warned"
	OutcomeAudited  = "audited"
	OutcomeExempted = "exempted"
)

// Group is the findings of one outcome.
type Group struct {
	Outcome  string
	Findings []Finding
}

// ByOutcome returns the findings in groups, those that refuse first.
func (v Verdict) ByOutcome() []Group {
	return []Group{{OutcomeDenied, v.Denied}, {OutcomeWarned, v.Warned}, {OutcomeAudited, v.Audited}, {OutcomeExempted, v.Exempted}}
}

// And returns the findings of both verdicts.
func (v Verdict) And(other Verdict) Verdict {
	return Verdict{
		Denied:   slices.Concat(v.Denied, other.Denied),
		Warned:   slices.Concat(v.Warned, other.Warned),
		Audited:  slices.Concat(v.Audited, other.Audited),
		Exempted: slices.Concat(v.Exempted, other.Exempted),
	}
}

// Sort sorts findings by severity, enforcement and exemptions. The enforcement is that of the hosts that a finding
// touches, so that nobody softens what becomes of those of others; a finding without a host keeps that of the object's
// Namespace.
func Sort(findings []Finding, view *policy.View, now time.Time) Verdict {
	var v Verdict
	for i, f := range findings {
		switch enforcement := cmp.Or(f.Host.Enforcement, view.Enforcement(f.Object.Namespace, f.Host.Locked)); {
		case exempted(f, view.Config().Exemptions, now), excused(f, view.Config().Exemptions, now):
			v.Exempted = append(v.Exempted, f)
		case enforcement == policy.Audit:
			v.Audited = append(v.Audited, f)
		case enforcement == policy.Warn || f.Severity == Warn:
			v.Warned = append(v.Warned, f)
		default:
			v.Denied = append(slices.Grow(v.Denied, len(findings)-i), f) // the others are likely to be so, too
		}
	}
	return v
}

// excused reports whether exemptions accept every other object that a finding is because of.
func excused(f Finding, exemptions []policy.Exemption, now time.Time) bool {
	for _, e := range f.excuses {
		if !exempted(Finding{Rule: e.rule, Object: object.Key{Namespace: e.namespace, Name: e.name}, Labels: e.labels}, exemptions, now) {
			return false
		}
	}
	return len(f.excuses) > 0
}

func exempted(f Finding, exemptions []policy.Exemption, now time.Time) bool {
	for _, e := range exemptions {
		if f.ExemptedBy(e, now) {
			return true
		}
	}
	return false
}

// ExemptedBy reports whether an exemption accepts the finding at that moment.
func (f Finding) ExemptedBy(e policy.Exemption, now time.Time) bool {
	return e.Covers(f.Rule, object.Metadata{Namespace: f.Object.Namespace, Name: f.Object.Name, Labels: f.Labels}, now)
}

// Ending returns the exempted findings whose exemption ends soon, with a note of when: of several exemptions the one that
// lasts the longest counts.
func (v Verdict) Ending(exemptions []policy.Exemption, now time.Time) []Finding {
	var ending []Finding
	for _, f := range v.Exempted {
		var last policy.Exemption
		for _, e := range exemptions {
			if f.ExemptedBy(e, now) && e.Until.After(last.Until) {
				last = e
			}
		}
		if last.EndsSoon(now) {
			ending = append(ending, f.Noting("accepted by an exemption until "+last.Until.Format(time.DateOnly)))
		}
	}
	return ending
}
