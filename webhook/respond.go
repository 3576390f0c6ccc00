package webhook

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
)

const (
	// maxWarnings is what the API server passes on of all warnings of a request together, in characters; the
	// rest is for other webhooks.
	maxWarnings = 4096 - 512
)

// answer is a response and the name under which it is counted.
type answer struct {
	admission.Response
	outcome string
}

func allowed() answer {
	return answer{admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Allowed: true}}, outcomeAllowed}
}

// failure keeps a bad request, which is the sender's to mend, apart from what could not be decided.
func failure(err error) answer {
	status, outcome := apierrors.NewInternalError(err).Status(), outcomeError
	if bad, ok := errors.AsType[*admit.BadRequest](err); ok {
		status, outcome = apierrors.NewBadRequest(bad.Error()).Status(), outcomeBadRequest
	} else if errors.Is(err, cluster.ErrNotSynced) {
		outcome = outcomeNotReady
	}
	return refused(status, outcome)
}

// invalid refuses an object with one cause for each error.
func invalid(req admission.Request, errs field.ErrorList) answer {
	kind := schema.GroupKind{Group: req.Kind.Group, Kind: req.Kind.Kind}
	return refused(apierrors.NewInvalid(kind, req.Name, errs).Status(), outcomeDenied)
}

func refused(status metav1.Status, outcome string) answer {
	return answer{admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}, outcome}
}

// judge turns a verdict into an answer.
func judge(req admission.Request, v leak.Verdict, exemptions []policy.Exemption, now time.Time) answer {
	ans := allowed()
	if len(v.Denied) > 0 {
		ans = invalid(req, fieldErrors(v.Denied))
	} else if len(v.Warned) > 0 {
		ans.outcome = outcomeWarned
	}
	warnings := make([]string, 0, len(v.Warned))
	for _, f := range inFieldOrder(v.Warned) {
		warnings = append(warnings, f.Field+": "+f.Message)
	}
	for _, f := range inFieldOrder(v.Exempted) {
		if e := longest(f, exemptions, now); e.EndsSoon(now) {
			warnings = append(warnings, fmt.Sprintf("%s: %s; accepted by an exemption until %s",
				f.Field, f.Message, e.Until.Format(time.DateOnly)))
		}
	}
	ans.Warnings = shorten(warnings)
	ans.AuditAnnotations = annotations(v)
	return ans
}

func fieldErrors(findings []leak.Finding) field.ErrorList {
	errs := make(field.ErrorList, 0, len(findings))
	for _, f := range inFieldOrder(findings) {
		kind := field.ErrorTypeInvalid
		if f.Value == nil || f.Value == "" {
			kind = field.ErrorTypeRequired
		}
		errs = append(errs, &field.Error{Type: kind, Field: f.Field, BadValue: f.Value, Detail: f.Message})
	}
	return errs
}

// annotations tell the audit log what was found, by outcome. The API server puts the name of the webhook
// before the keys.
func annotations(v leak.Verdict) map[string]string {
	var set map[string]string
	for _, group := range v.ByOutcome() {
		if len(group.Findings) == 0 {
			continue
		}
		if set == nil {
			set = map[string]string{}
		}
		places := make([]string, 0, len(group.Findings))
		for _, f := range inFieldOrder(group.Findings) {
			places = append(places, f.Rule+" "+f.Field)
		}
		set[group.Outcome] = strings.Join(places, ", ")
	}
	return set
}

// longest returns the exemption that covers a finding the longest.
func longest(f leak.Finding, exemptions []policy.Exemption, now time.Time) policy.Exemption {
	var last policy.Exemption
	for _, e := range exemptions {
		if f.ExemptedBy(e, now) && e.Until.After(last.Until) {
			last = e
		}
	}
	return last
}

// shorten keeps as many warnings as the API server passes on and says how many more there are.
func shorten(warnings []string) []string {
	length := 0
	for i, w := range warnings {
		if length += utf8.RuneCountInString(w); length > maxWarnings {
			return append(warnings[:i:i], fmt.Sprintf("meshfence has %d more warnings", len(warnings)-i))
		}
	}
	return warnings
}

func inFieldOrder(findings []leak.Finding) []leak.Finding {
	return slices.SortedStableFunc(slices.Values(findings), func(a, b leak.Finding) int { return compareFields(a.Field, b.Field) })
}

// compareFields orders paths, list indexes by number.
func compareFields(a, b string) int {
	for a != "" && b != "" {
		x, y := digits(a), digits(b)
		if x > 0 && y > 0 {
			// Indexes have no leading zeros, so the longer one is the larger.
			if c := cmp.Or(cmp.Compare(x, y), cmp.Compare(a[:x], b[:y])); c != 0 {
				return c
			}
			a, b = a[x:], b[y:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(len(a), len(b))
}

// digits returns the length of the number that s starts with.
func digits(s string) int {
	if i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		return i
	}
	return len(s)
}
