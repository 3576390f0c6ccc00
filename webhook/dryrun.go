package webhook

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// dryRun returns a verdict as it is for a dry run. Tools send a whole set of objects so before any of them, and what is
// refused only because an object does not exist, which the same set may hold, would keep the set out for ever. It is
// warned of, and the request itself is judged anew.
func (a *Admission) dryRun(ctx context.Context, req admission.Request, verdict leak.Verdict, view *policy.View, again func() (leak.Verdict, error)) (leak.Verdict, error) {
	if req.DryRun == nil || !*req.DryRun || len(verdict.Denied) == 0 || len(view.Absent()) == 0 {
		return verdict, nil
	}
	view.Suppose()
	var hopeful leak.Verdict
	err := a.decide(ctx, view, func() (err error) {
		hopeful, err = again()
		return err
	})
	if err != nil {
		return leak.Verdict{}, err
	}
	waits := func(f leak.Finding) bool {
		return !slices.ContainsFunc(hopeful.Denied, func(left leak.Finding) bool {
			return left.Rule == f.Rule && (left.Field() == f.Field() || f.More > 0)
		})
	}
	judged := verdict
	judged.Denied, judged.Warned = nil, slices.Clone(verdict.Warned)
	for _, f := range verdict.Denied {
		if !waits(f) {
			judged.Denied = append(judged.Denied, f)
			continue
		}
		judged.Warned = append(judged.Warned, f.Noting("this dry run is not refused for it, because there is no "+absent(view)+" yet"))
	}
	return judged, nil
}

// maxAbsent is how many of the objects that do not exist a warning names.
const maxAbsent = 3

// absent names what the objects of a view lead to and does not exist.
func absent(view *policy.View) string {
	names := view.Absent()
	text := strings.Join(names[:min(len(names), maxAbsent)], ", no ")
	if more := len(names) - maxAbsent; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
