package backfill

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// job is an object whose stored form differs from what admission would make of it.
type job struct {
	mesh.Target

	// stub names the object as it was read, without what is in it: there may be very many.
	stub client.Object
	step step
	// rule is the host of a DestinationRule, as Istio compares it.
	rule string
	// needs lists the hosts whose reserved subset a VirtualService is going to name.
	needs []string
}

// stubOf returns an object of the same type that has but a name and a version.
func stubOf(o client.Object) client.Object {
	gvk := o.GetObjectKind().GroupVersionKind()
	var stub client.Object = mesh.ObjectOf(gvk)
	if _, ok := o.(*metav1.PartialObjectMetadata); ok {
		stub = &metav1.PartialObjectMetadata{}
		stub.GetObjectKind().SetGroupVersionKind(gvk)
	}
	stub.SetNamespace(o.GetNamespace())
	stub.SetName(o.GetName())
	stub.SetUID(o.GetUID())
	stub.SetResourceVersion(o.GetResourceVersion())
	return stub
}

// step orders the jobs. A subset is there before routes lead to it, and goes when none does any more, so that
// no request is sent to a subset that is not there.
type step int

const (
	tighten step = iota
	reroute
	loosen
	label
	steps
)

// jobs are the jobs of one pass by step.
type jobs [steps][]*job

// settles reports whether the proxies must hear of what a step wrote before the next begins.
func (j jobs) settles(done step) bool {
	return done == tighten && len(j[reroute]) > 0 || done == reroute && len(j[loosen]) > 0
}

// inspect returns the job for an object, or nil where it is as admission would store it, or none of our
// business.
func inspect(o client.Object, index *policy.Index) (*job, error) {
	view := index.View()
	decoded, plan, err := mesh.Plan(o, view)
	if err != nil || len(plan.Edits) == 0 {
		return nil, err
	}
	j := &job{Target: mesh.TargetOf(o), stub: stubOf(o)}
	switch decoded.Kind {
	case object.KindDestinationRule:
		j.rule = strings.ToLower(hostname.Resolve(decoded.DestinationRule.Host, o.GetNamespace(), view.Config().ClusterDomain))
		if len(plan.Dropped) > 0 {
			j.step = loosen
		}
	case object.KindVirtualService:
		j.step = reroute
		for _, gap := range plan.Gaps {
			j.needs = append(j.needs, gap.Host.Host)
		}
	default:
		j.step = label
	}
	return j, nil
}
