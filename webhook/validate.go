package webhook

import (
	"context"

	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// validate answers with what the guard finds in the final object.
func (a *Admission) validate(ctx context.Context, req admission.Request) (answer, error) {
	if req.Kind.Kind == object.KindConfigMap && req.Namespace == a.InstallNamespace && req.Operation != admissionv1.Delete {
		return a.validateConfigMap(ctx, req)
	}
	s, view := a.subject(req), a.Index.View()
	if s.Kind == object.KindConfigMap && !admit.IsMeshConfigMap(req.Namespace, req.Name, view.Config()) {
		return allowed(), nil
	}
	if s.Kind == object.KindBinding {
		bound, exists, err := a.bound(ctx, s, req.Name)
		if err != nil || !exists {
			return allowed(), err
		}
		s = bound
	}
	now := a.Now()
	judged := func() (leak.Verdict, error) { return admit.Judge(s, a.guard, view, now) }
	var verdict leak.Verdict
	err := a.decide(ctx, view, func() (err error) {
		verdict, err = judged()
		return err
	})
	if err != nil {
		return answer{}, err
	}
	if verdict, err = a.dryRun(ctx, req, verdict, view, judged); err != nil {
		return answer{}, err
	}
	a.Metrics.found(verdict)
	return judge(req, verdict, view.Config().Exemptions, now), nil
}
