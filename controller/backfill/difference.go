package backfill

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// difference is an object whose stored form differs from what admission would make of it.
type difference struct {
	object.Key

	// of is the object as the index had it; nil for a Service.
	of *object.Object
	// uid is empty where it is not known.
	uid  types.UID
	step step
	// rule is the host of a DestinationRule, as Istio compares it.
	rule string
	// needs lists the hosts whose reserved subset a VirtualService is going to name.
	needs []string
}

// inspect returns how an object differs, or nil where it is as admission would store it, or none of our business.
func inspect(o *object.Object, index *policy.Index) *difference {
	view := index.View()
	plan := mesh.Plan(o, view)
	if len(plan.Edits) == 0 {
		return nil
	}
	d := &difference{Key: o.Key(), of: o, uid: types.UID(o.Metadata.UID)}
	switch o.Kind {
	case object.KindDestinationRule:
		d.rule = strings.ToLower(hostname.Resolve(o.DestinationRule.Host, o.Metadata.Namespace, view.Config().ClusterDomain))
		if len(plan.Dropped) > 0 {
			d.step = loosen
		}
	case object.KindVirtualService:
		d.step = reroute
		for _, gap := range plan.Gaps {
			d.needs = append(d.needs, gap.Host.Host)
		}
	default:
		d.step = label
	}
	return d
}

// unmarked returns how a Service differs that lacks its marks.
func unmarked(host hostname.Host) *difference {
	return &difference{Key: object.Key{Kind: object.KindService, Namespace: host.Namespace, Name: host.Name}, step: label}
}

// gvk returns that of the object.
func (d *difference) gvk(m *mesh.Mesh) schema.GroupVersionKind {
	if d.Kind == object.KindService {
		return corev1.SchemeGroupVersion.WithKind(d.Kind)
	}
	return m.GVK(d.Kind)
}

// empty returns what names the object, and takes what is stored. Of a Service that is its metadata.
func (d *difference) empty(m *mesh.Mesh) client.Object {
	var o client.Object = mesh.ObjectOf(d.gvk(m))
	if d.Kind == object.KindService {
		o = &metav1.PartialObjectMetadata{}
		o.GetObjectKind().SetGroupVersionKind(d.gvk(m))
	}
	o.SetNamespace(d.Namespace)
	o.SetName(d.Name)
	return o
}

// reference is what Events are about.
func (d *difference) reference(m *mesh.Mesh) *corev1.ObjectReference {
	about := &corev1.ObjectReference{Namespace: d.Namespace, Name: d.Name, UID: d.uid}
	about.APIVersion, about.Kind = d.gvk(m).ToAPIVersionAndKind()
	return about
}
