package controller

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// absent brings the companions of a host in line that has no Service here. Where the config names it as strict they keep
// its clients from the one that another cluster may have (row E5), and belong to nobody. Of any other Service that is
// gone the garbage collector takes them.
func (c *companions) absent(ctx context.Context, host hostname.Host, stands standing, view *policy.View) (time.Duration, error) {
	config := view.Config()
	match := view.Match(host.FQDN(config.ClusterDomain))
	named := config.Names(host) && match.Has(policy.Strict)
	if !named && (stands.rule == nil || owned(stands.rule)) && (stands.route == nil || owned(stands.route)) {
		c.forget(host)
		return 0, nil
	}
	var want inject.Companions
	if named {
		// Which ports it has elsewhere is not known: they may carry anything.
		want = inject.CompanionsOf(host, []corev1.ServicePort{{Name: "tls"}}, view)
	}
	if want.RuleStays && stands.rule != nil {
		want.Rule = asItStands(stands.rule, want.Rule)
	}
	return c.align(ctx, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: host.Namespace, Name: host.Name}}, stands, want)
}

func owned(u *unstructured.Unstructured) bool { return len(u.GetOwnerReferences()) > 0 }

// owners returns what makes companions go with their Service. Those of a Service that the config names outlive it.
func (c *companions) owners(service *corev1.Service) []metav1.OwnerReference {
	if c.index.Config().Names(hostname.Host{Namespace: service.Namespace, Name: service.Name}) {
		return nil
	}
	return []metav1.OwnerReference{{
		APIVersion: "v1", Kind: object.KindService, Name: service.Name, UID: service.UID, Controller: new(true),
	}}
}
