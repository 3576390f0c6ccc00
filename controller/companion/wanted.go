package companion

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// Wanted returns the companions that a Service is to have, and reports whether they are the controller's business at all. A
// host that has no Service here has companions where the config names it as strict: they keep its clients from the one that
// another cluster may have (row E5), and belong to nobody. Those of any other Service that is gone the garbage collector takes.
func Wanted(host hostname.Host, have Observed, view *policy.View) (want inject.Companions, ours bool) {
	switch {
	case !view.Exists(host):
		config := view.Config()
		match := view.Match(host.FQDN(config.ClusterDomain))
		named := config.Names(host) && match.Has(policy.Strict)
		if !named && (have.Rule == nil || owned(have.Rule)) && (have.Route == nil || owned(have.Route)) {
			return want, false
		}
		if named {
			// Which ports it has elsewhere is not known: they may carry anything.
			want = inject.CompanionsOf(host, policy.Speech{HTTP: true, Bytes: true, TLS: true}, view)
		}
	case view.Serves(host):
		want = inject.CompanionsOf(host, view.Speaks(host), view)
	}
	if want.RuleStays && have.Rule != nil {
		want.Rule = asItIs(have.Rule, want.Rule)
	}
	return want, true
}

// asItIs returns what a companion holds, with the subsets that are wanted.
func asItIs(u *unstructured.Unstructured, want *inject.Companion) *inject.Companion {
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	if spec == nil {
		spec = map[string]any{}
	}
	if want != nil {
		spec["subsets"] = want.Spec["subsets"]
	}
	return &inject.Companion{Annotations: u.GetAnnotations(), Spec: spec}
}

func owned(u *unstructured.Unstructured) bool { return len(u.GetOwnerReferences()) > 0 }

// Owners returns what makes companions go with their Service. Those of a Service that the config names outlive it, and so
// does what is to be given back.
func Owners(service *corev1.Service, config *policy.Config) []metav1.OwnerReference {
	if config.Names(hostname.Host{Namespace: service.Namespace, Name: service.Name}) {
		return nil
	}
	return []metav1.OwnerReference{{
		APIVersion: "v1", Kind: object.KindService, Name: service.Name, UID: service.UID, Controller: new(true),
	}}
}
