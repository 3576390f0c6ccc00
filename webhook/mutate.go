package webhook

import (
	"context"
	"encoding/json"
	"fmt"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
)

// mutate answers with the patch that makes the active holds true. It does so whatever the enforcement:
// warn and audit soften what the guard says, not what the holds do.
func (a *Admission) mutate(ctx context.Context, req admission.Request) (answer, error) {
	s, view := a.subject(req), a.Index.View()
	var edits []inject.Edit
	err := a.decide(ctx, view, func() (err error) {
		edits, err = admit.Mutate(s, view)
		return err
	})
	if err != nil {
		return answer{}, err
	}
	operations, err := admit.Patch(s.Raw, edits)
	if err != nil {
		return answer{}, fmt.Errorf("patch %s: %w", s.Kind, err)
	}
	if len(operations) == 0 {
		return allowed(), nil
	}
	patch, err := json.Marshal(operations)
	if err != nil {
		return answer{}, fmt.Errorf("encode patch of %s: %w", s.Kind, err)
	}
	ans := allowed()
	ans.outcome = outcomePatched
	ans.Patch, ans.PatchType = patch, new(admissionv1.PatchTypeJSONPatch)
	return ans, nil
}
