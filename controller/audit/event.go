package audit

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meshfence/meshfence/policy/object"
)

// tell makes an Event of each finding that was not there before.
func (a *Audit) tell(ctx context.Context, s Result) {
	old := a.found[s.Key]
	if !s.any() {
		delete(a.found, s.Key)
		return
	}
	a.found[s.Key] = s
	news := s.since(old)
	if len(news) == 0 {
		return
	}
	missed := a.missed(ctx, s.Key)
	for _, f := range news {
		a.event(s.Key, s.UID, "Leak", missed+f.Field()+": "+f.Message())
	}
}

// tellEnding tells, once, of exemptions that end soon.
func (a *Audit) tellEnding() {
	for _, e := range a.Index.Config().Exemptions {
		note := fmt.Sprintf("the exemption of %s from %s ends after %s", e.Objects(), e.Rule, e.Until.Format(time.DateOnly))
		if e.EndsSoon(a.Now()) && !a.ending[note] {
			a.ending[note] = true
			a.Recorder.Eventf(&corev1.ObjectReference{APIVersion: "v1", Kind: object.KindNamespace, Name: e.Namespace}, nil, corev1.EventTypeWarning,
				"ExemptionEnds", "Audit", "%.900s", note)
		}
	}
}

func (a *Audit) event(key object.Key, uid, reason, note string) {
	gk := schema.GroupKind{Group: object.GroupOf(key.Kind), Kind: object.APIKind(key.Kind)}
	mapping, err := a.Mapper.RESTMapping(gk)
	if err != nil {
		return // the kind has gone, and its objects with it
	}
	about := &corev1.ObjectReference{Namespace: key.Namespace, Name: key.Name, UID: types.UID(uid)}
	about.APIVersion, about.Kind = mapping.GroupVersionKind.ToAPIVersionAndKind()
	a.Recorder.Eventf(about, nil, corev1.EventTypeWarning, reason, "Audit", "%.900s", note)
}
