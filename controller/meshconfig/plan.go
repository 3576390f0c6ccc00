package meshconfig

import (
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy/contest"
	"github.com/meshfence/meshfence/policy/meshconfig"
)

// errContested is reported while a write waits.
var errContested = errors.New("somebody else keeps taking the entries out, such as another installation of meshfence: " +
	"they are written ever more slowly; remove what does")

// Plan is what a mesh ConfigMap must hold.
type Plan struct {
	meshconfig.Plan

	// InLine reports whether the ConfigMap holds that.
	InLine bool
	// Disowned is what the managedFields are without those of a manager; nil where they need no change.
	Disowned []metav1.ManagedFieldsEntry
}

// PlanFor plans for a ConfigMap as it is stored. Without a scope nothing of ours stays.
func PlanFor(object *corev1.ConfigMap, domain string, scope meshconfig.Scope, manager string) (Plan, error) {
	p, err := meshconfig.PlanFor(object.Data, object.Annotations, domain, scope)
	if err != nil {
		return Plan{}, fmt.Errorf("mesh ConfigMap %s: %w", client.ObjectKeyFromObject(object), err)
	}
	return Plan{
		Plan:     p,
		InLine:   p.Text == object.Data[meshconfig.Key] && p.Owned == object.Annotations[meshconfig.ClusterLocalHostsAnnotation],
		Disowned: Disowned(object.ManagedFields, manager),
	}, nil
}

// Disowned takes the entries of a manager out of managedFields, so that no installer finds a second owner of a text that an
// earlier version wrote, or that had to be written. It returns nil where there are none, or no others.
func Disowned(owners []metav1.ManagedFieldsEntry, manager string) []metav1.ManagedFieldsEntry {
	left := slices.DeleteFunc(slices.Clone(owners), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == manager })
	if len(left) == len(owners) || len(left) == 0 { // an empty list would reset all
		return nil
	}
	return left
}

// Action is what to do to a ConfigMap.
type Action string

// The actions.
const (
	// Leave: it is in line.
	Leave Action = "leave"
	// Disown: it is in line, but the controller has fields in it.
	Disown Action = "disown"
	// Bring: it is to be brought in line.
	Bring Action = "bring"
	// Rest: it is to be brought in line later, because somebody else keeps changing it.
	Rest Action = "rest"
)

// Action decides what to do now, after the writes of the past.
func (p Plan) Action(past *contest.Record, now time.Time) Action {
	switch {
	case p.InLine && p.Disowned != nil:
		return Disown
	case p.InLine:
		return Leave
	case past.Wait(p.Owned, now) > 0:
		return Rest
	}
	return Bring
}
