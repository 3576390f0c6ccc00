package companion

import (
	"errors"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// Observed is what the index holds for one Service.
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

func (r *Reconciler) observe(host hostname.Host) (Observed, error) {
	var o Observed
	about := r.Mesh.About(host.FQDN(r.Mesh.Index.Config().ClusterDomain))
	err := errors.Join(r.observeNamed(object.KindDestinationRule, host, &o.Rule, &o), r.observeNamed(object.KindVirtualService, host, &o.Route, &o))
	for _, user := range about {
		if mesh.IsCompanion(user) && user.Metadata.Name == inject.CompanionName(host.Name) || !r.Mesh.Replaces(user, host) {
			continue
		}
		if user.DestinationRule != nil {
			o.UserRule, o.UserRules = true, append(o.UserRules, r.Mesh.RuleOf(user))
		} else {
			o.UserRoute, o.UserSections = true, append(o.UserSections, inject.OwnSections(user)...)
		}
	}
	return o, err
}

// observeNamed looks at the object of a kind that has the name of the companion.
func (r *Reconciler) observeNamed(kind string, host hostname.Host, own **unstructured.Unstructured, o *Observed) (err error) {
	key := object.Key{Kind: kind, Namespace: host.Namespace, Name: inject.CompanionName(host.Name)}
	switch named, exists := r.Mesh.Index.View().Object(key); {
	case !exists:
	case mesh.IsCompanion(named):
		*own, err = mesh.Whole(named)
	case !r.Mesh.Replaces(named, host):
		o.Taken = append(o.Taken, kind)
	}
	return err
}
