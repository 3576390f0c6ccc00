package companion

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// Observed is what the cache holds for one Service.
type Observed struct {
	// Rule and Route are its companions.
	Rule, Route *unstructured.Unstructured
	// UserRule and UserRoute report whether a user's object takes the place of a companion.
	UserRule, UserRoute bool
	// UserRules are the DestinationRules that do.
	UserRules []mesh.Rule
	// UserSections are the sections in which the VirtualServices that do have routes of their own.
	UserSections []string
	// Taken lists the kinds in which somebody else's object has the companion's name and another host.
	Taken []string
}

func (r *Reconciler) observe(ctx context.Context, host hostname.Host) (Observed, error) {
	var o Observed
	var err error
	if o.Rule, o.UserRule, err = r.observeKind(ctx, host, r.Mesh.Rule, &o); err != nil {
		return o, err
	}
	o.Route, o.UserRoute, err = r.observeKind(ctx, host, r.Mesh.Route, &o)
	return o, err
}

// observeKind returns the companion of one kind, reports whether a user's object takes its place, and adds to the rest
// of what is observed.
func (r *Reconciler) observeKind(ctx context.Context, host hostname.Host, gvk schema.GroupVersionKind, o *Observed) (own *unstructured.Unstructured, user bool, err error) {
	name := inject.CompanionName(host.Name)
	named := mesh.ObjectOf(gvk)
	err = r.Mesh.Objects.Get(ctx, client.ObjectKey{Namespace: host.Namespace, Name: name}, named)
	switch {
	case apierrors.IsNotFound(err):
	case err != nil:
		return nil, false, fmt.Errorf("get cached %s: %w", gvk.Kind, err)
	case mesh.IsCompanion(named):
		own = named
	case !r.Mesh.Replaces(named, host):
		o.Taken = append(o.Taken, gvk.Kind)
	}
	objects, err := r.Mesh.About(ctx, gvk, host)
	if err != nil {
		return nil, false, err
	}
	for i := range objects {
		u := &objects[i]
		if u.GetName() == name && mesh.IsCompanion(u) || !r.Mesh.Replaces(u, host) {
			continue
		}
		user = true
		if gvk.Kind == object.KindDestinationRule {
			o.UserRules = append(o.UserRules, r.Mesh.RuleOf(u))
		} else {
			o.UserSections = append(o.UserSections, mesh.Sections(u)...)
		}
	}
	return own, user, nil
}
