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

// failure keeps a bad request, which is the sender's to fix, apart from what could not be decided.
func failure(err error) answer {
	status, outcome := apierrors.NewInternalError(err).Status(), outcomeError
	if bad, ok := errors.AsType[*admit.BadRequest](err); ok {
		status, outcome = apierrors.NewBadRequest(bad.Error()).Status(), outcomeBadRequest
	} else if errors.Is(err, cluster.ErrNotSynced) {
		outcome = outcomeNotReady
	}
	return refused(status, outcome)
}

// invalid refuses an object with one cause for each error, as apierrors.NewInvalid does, but for that it writes each once
// and not four times: what an API server is told of a refusal is longer than most objects.
func invalid(req admission.Request, errs field.ErrorList) answer {
	status := apierrors.NewInvalid(schema.GroupKind{Group: req.Kind.Group, Kind: req.Kind.Kind}, req.Name, nil).Status()
	texts, seen := make([]string, 0, len(errs)), make(map[string]bool, len(errs))
	for _, err := range errs {
		body := err.ErrorBody()
		status.Details.Causes = append(status.Details.Causes, metav1.StatusCause{Type: metav1.CauseType(err.Type), Message: body, Field: err.Field})
		if text := err.Field + ": " + body; !seen[text] {
			texts, seen[text] = append(texts, text), true
		}
	}
	switch len(texts) {
	case 0:
	case 1:
		status.Message += ": " + texts[0]
	default:
		status.Message += ": [" + strings.Join(texts, ", ") + "]"
	}
	return refused(status, outcomeDenied)
}

func refused(status metav1.Status, outcome string) answer {
	return answer{admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &status}}, outcome}
}

// judge turns a verdict into an answer.
func judge(req admission.Request, v leak.Verdict, exemptions []policy.Exemption, now time.Time) answer {
	v = inOrder(v)
	ans := allowed()
	if len(v.Denied) > 0 {
		ans = invalid(req, fieldErrors(v.Denied))
	} else if len(v.Warned) > 0 {
		ans.outcome = outcomeWarned
	}
	warnings := make([]string, 0, len(v.Warned))
	for _, f := range v.Warned {
		warnings = append(warnings, f.Field()+": "+f.Message())
	}
	for _, f := range v.Ending(exemptions, now) {
		warnings = append(warnings, f.Field()+": "+f.Message())
	}
	ans.Warnings = shorten(warnings)
	ans.AuditAnnotations = annotations(v)
	return ans
}

func fieldErrors(findings []leak.Finding) field.ErrorList {
	errs := make(field.ErrorList, 0, len(findings))
	for _, f := range findings {
		kind := field.ErrorTypeInvalid
		if f.Value == nil || f.Value == "" {
			kind = field.ErrorTypeRequired
		}
		errs = append(errs, &field.Error{Type: kind, Field: f.Field(), BadValue: f.Value, Detail: f.Message()})
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
		for _, f := range group.Findings {
			places = append(places, f.Rule+" "+f.Field())
		}
		set[group.Outcome] = strings.Join(places, ", ")
	}
	return set
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

// inOrder returns a verdict with each kind of findings by the paths of their fields, those of other objects last.
func inOrder(v leak.Verdict) leak.Verdict {
	sorted := func(findings []leak.Finding) []leak.Finding {
		if len(findings) < 2 {
			return findings
		}
		findings = slices.Clone(findings)
		slices.SortStableFunc(findings, func(a, b leak.Finding) int {
			switch {
			case a.Elsewhere == b.Elsewhere:
				return cmp.Or(a.Object.Compare(b.Object), a.Path.Compare(b.Path))
			case a.Elsewhere:
				return 1
			}
			return -1
		})
		return findings
	}
	return leak.Verdict{Denied: sorted(v.Denied), Warned: sorted(v.Warned), Audited: sorted(v.Audited), Exempted: sorted(v.Exempted)}
}
