package manifests_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy/admit"
)

// entry is what both kinds of webhook have.
type entry struct {
	Name              string
	ClientConfig      admissionv1.WebhookClientConfig
	Rules             []admissionv1.RuleWithOperations
	FailurePolicy     *admissionv1.FailurePolicyType
	MatchPolicy       *admissionv1.MatchPolicyType
	NamespaceSelector *metav1.LabelSelector
	ObjectSelector    *metav1.LabelSelector
	SideEffects       *admissionv1.SideEffectClass
	TimeoutSeconds    *int32
	Versions          []string
	Reinvocation      *admissionv1.ReinvocationPolicyType
	Conditions        []admissionv1.MatchCondition
}

// mutating and validating return the entries of an overlay's two configurations.
func mutating(t *testing.T, overlay string) []entry {
	t.Helper()
	var out []entry
	for _, w := range one[*admissionv1.MutatingWebhookConfiguration](t, overlay).Webhooks {
		out = append(out, entry{
			w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.ReinvocationPolicy, w.MatchConditions,
		})
	}
	return out
}

func validating(t *testing.T, overlay string) []entry {
	t.Helper()
	var out []entry
	for _, w := range one[*admissionv1.ValidatingWebhookConfiguration](t, overlay).Webhooks {
		out = append(out, entry{
			w.Name, w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, nil, w.MatchConditions,
		})
	}
	return out
}

// requests lists what an entry's rules take, one line for each group, version, resource and operation.
func (e entry) requests() []string {
	var out []string
	for _, r := range e.Rules {
		for _, group := range r.APIGroups {
			for _, version := range r.APIVersions {
				for _, resource := range r.Resources {
					for _, operation := range r.Operations {
						out = append(out, request(group, version, resource, string(operation)))
					}
				}
			}
		}
	}
	return out
}

func request(group, version, resource, operation string) string {
	return fmt.Sprintf("%s %s/%s %s", operation, group, version, resource)
}

// routed lists what the routing table takes on one of the two paths.
func routed(path string) []string {
	var out []string
	for _, r := range admit.Kinds() {
		for _, version := range r.Versions {
			for resource, operations := range r.Requests(path) {
				for _, operation := range operations {
					out = append(out, request(r.Group, version, resource, string(operation)))
				}
			}
		}
	}
	slices.Sort(out)
	return out
}

// Every request of the routing table reaches one entry, whatever the namespace, and no other request reaches any.
func TestRoutes(t *testing.T) {
	t.Parallel()
	const own, system = "meshfence-system", "kube-system"
	namespaces := map[string]labels.Set{
		"plain":  {},
		"strict": {"meshfence.io/fence": "strict"},
		"prefer": {"meshfence.io/fence": "prefer"},
		"none":   {"meshfence.io/fence": "none"},
		own:      {"meshfence.io/fence": "strict"},
		system:   {"meshfence.io/fence": "strict"},
	}
	for _, overlay := range overlays() {
		for path, entries := range map[string][]entry{
			admit.MutatePath:   mutating(t, overlay),
			admit.ValidatePath: validating(t, overlay),
		} {
			for name, set := range namespaces {
				t.Run(overlay+path+" in "+name, func(t *testing.T) {
					t.Parallel()
					set := labels.Merge(set, labels.Set{"kubernetes.io/metadata.name": name})
					var got []string
					for _, e := range entries {
						selector, err := metav1.LabelSelectorAsSelector(e.NamespaceSelector)
						if err != nil {
							t.Fatalf("%s: %v", e.Name, err)
						}
						if selector.Matches(set) {
							got = append(got, e.requests()...)
						}
					}
					slices.Sort(got)
					// The FenceConfig is in our namespace alone, nothing else of it is touched, and no mesh config is there.
					want := slices.DeleteFunc(routed(path), func(r string) bool {
						fenceConfig := path == admit.ValidatePath && strings.HasSuffix(r, " /v1 configmaps") && !strings.HasPrefix(r, "DELETE")
						return name == system || name == own && !fenceConfig
					})
					if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
						t.Errorf("requests (-routes +manifests):\n%s", diff)
					}
				})
			}
		}
	}
}

// What a route's condition keeps away never reaches the webhook, and no other request is kept away by it.
func TestRouteConditions(t *testing.T) {
	t.Parallel()
	for path, entries := range map[string][]entry{
		admit.MutatePath:   mutating(t, "self-signed"),
		admit.ValidatePath: validating(t, "self-signed"),
	} {
		for _, r := range admit.Kinds() {
			for _, e := range entries {
				condition := r.MutateIf
				if path == admit.ValidatePath {
					condition = r.ValidateIf
				}
				takes := slices.ContainsFunc(e.Rules, func(rule admissionv1.RuleWithOperations) bool {
					switch {
					case slices.Contains(rule.Operations, admissionv1.Delete):
						condition = r.DeleteIf
					case slices.Contains(rule.Resources, r.Resource+"/status"):
						condition = r.StatusIf
						return true
					}
					return slices.Contains(rule.Resources, r.Resource)
				})
				narrowed := slices.ContainsFunc(e.Conditions, func(c admissionv1.MatchCondition) bool { return c.Expression == condition })
				if takes && condition != "" && !narrowed {
					t.Errorf("%s: must have the condition %s", e.Name, condition)
				}
			}
		}
	}
}

// policies are the failure policies; everything that can fail a request is in this table.
func policies() map[string]admissionv1.FailurePolicyType {
	return map[string]admissionv1.FailurePolicyType{
		"istio.mutate.meshfence.io":               admissionv1.Ignore,
		"services.mutate.meshfence.io":            admissionv1.Ignore,
		"meshconfig.mutate.meshfence.io":          admissionv1.Ignore,
		"istio.validate.meshfence.io":             admissionv1.Fail,
		"istio-status.validate.meshfence.io":      admissionv1.Fail,
		"companions.validate.meshfence.io":        admissionv1.Fail,
		"deleted-sidecars.validate.meshfence.io":  admissionv1.Fail,
		"warnings.validate.meshfence.io":          admissionv1.Ignore,
		"routes.validate.meshfence.io":            admissionv1.Ignore,
		"endpoints.validate.meshfence.io":         admissionv1.Ignore,
		"pods.validate.meshfence.io":              admissionv1.Ignore,
		"pods-status.validate.meshfence.io":       admissionv1.Ignore,
		"bindings.validate.meshfence.io":          admissionv1.Ignore,
		"meshconfig.validate.meshfence.io":        admissionv1.Ignore,
		"fenced-services.validate.meshfence.io":   admissionv1.Fail,
		"services.validate.meshfence.io":          admissionv1.Ignore,
		"services-status.validate.meshfence.io":   admissionv1.Ignore,
		"deleted-services.validate.meshfence.io":  admissionv1.Ignore,
		"namespaces.validate.meshfence.io":        admissionv1.Ignore,
		"namespaces-status.validate.meshfence.io": admissionv1.Ignore,
		"config.validate.meshfence.io":            admissionv1.Ignore,
		"deleted-meshes.validate.meshfence.io":    admissionv1.Ignore,
	}
}

func TestEntries(t *testing.T) {
	t.Parallel()
	for _, overlay := range overlays() {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			got := map[string]admissionv1.FailurePolicyType{}
			check := func(path string, e entry) {
				got[e.Name] = *e.FailurePolicy
				scope := admissionv1.NamespacedScope
				if strings.HasPrefix(e.Name, "namespaces") {
					scope = admissionv1.ClusterScope
				}
				want := e
				want.ClientConfig = admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{
					Namespace: "meshfence-system", Name: "meshfence", Path: &path,
				}}
				want.MatchPolicy, want.SideEffects = new(admissionv1.Equivalent), new(admissionv1.SideEffectClassNone)
				want.TimeoutSeconds, want.Versions, want.ObjectSelector = new(int32(5)), []string{"v1"}, nil
				if path == admit.MutatePath {
					want.Reinvocation = new(admissionv1.IfNeededReinvocationPolicy)
				}
				want.Rules = nil
				for _, rule := range e.Rules {
					rule.Scope = &scope
					want.Rules = append(want.Rules, rule)
				}
				if diff := cmp.Diff(want, e); diff != "" {
					t.Errorf("%s (-want +got):\n%s", e.Name, diff)
				}
			}
			for _, e := range mutating(t, overlay) {
				check(admit.MutatePath, e)
			}
			for _, e := range validating(t, overlay) {
				check(admit.ValidatePath, e)
			}
			if diff := cmp.Diff(policies(), got); diff != "" {
				t.Errorf("failure policies (-want +got):\n%s", diff)
			}
		})
	}
}
