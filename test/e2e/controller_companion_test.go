package e2e_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/testbed"
)

const (
	subsetConfig   = "controlPlane: {clusters: [m1c5]}\nholds: [subset]\n"
	localityConfig = "controlPlane: {clusters: [m1c5]}\nholds: [locality]\nlocalities: {m1c5: [%s]}\n"
)

// companionService is strict and speaks HTTP.
const companionService = `
apiVersion: v1
kind: Service
metadata: {name: reviews, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
`

// quickly lets things settle in no time.
var quickly = controller.Options{Settle: time.Millisecond}

// companions is a namespace with the Service reviews.
type companions struct {
	*leaderBed
	*leader
	namespace   string
	rule, route *unstructured.Unstructured
}

func startCompanions(t *testing.T, config, service string, o controller.Options) *companions {
	t.Helper()
	b := newLeaderBed(t, config)
	c := &companions{leaderBed: b, leader: b.lead(t, o), namespace: b.CreateNamespace(t, nil)}
	c.rule = istio(object.KindDestinationRule, c.namespace, "reviews-meshfence")
	c.route = istio(object.KindVirtualService, c.namespace, "reviews-meshfence")
	c.apply(t, c.namespace, service)
	return c
}

// both returns nil where both companions exist.
func (c *companions) both(ctx context.Context) error {
	return errors.Join(c.read(ctx, c.rule), c.read(ctx, c.route))
}

// none returns nil where neither exists.
func (c *companions) none(ctx context.Context) error {
	return errors.Join(c.gone(ctx, c.rule), c.gone(ctx, c.route))
}

func (c *companions) service(t *testing.T) *corev1.Service {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: "reviews"}}
	if err := c.read(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (c *companions) annotate(t *testing.T, fence string) {
	t.Helper()
	s := c.service(t)
	s.Annotations[policy.FenceKey] = fence
	if err := c.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
}

func (c *companions) host() string { return "reviews." + c.namespace + ".svc.cluster.local" }

// TestCompanionsOfNoService: a host that the config names as strict is kept here although there is no Service of it. Its
// companions outlive the Service, and belong to it once the config names it no more.
func TestCompanionsOfNoService(t *testing.T) {
	c := startCompanions(t, subsetConfig, strings.NewReplacer("reviews", "other", "strict", "none").Replace(companionService), quickly)
	named := fmt.Sprintf("%sscope: {services: [{namespace: %s, name: reviews, fence: strict}]}\n", subsetConfig, c.namespace)
	owned := func(uid types.UID) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := c.both(ctx); err != nil {
				return err
			}
			for _, u := range []*unstructured.Unstructured{c.rule, c.route} {
				if owner := metav1.GetControllerOf(u); (owner == nil) != (uid == "") || owner != nil && owner.UID != uid {
					return fmt.Errorf("%s is owned by %v, want %q", u.GetKind(), owner, uid)
				}
			}
			return nil
		}
	}
	c.configure(t, named)
	eventually(t, "companions stand that belong to nobody", owned(""))
	first := c.rule.GetUID()
	want := []any{c.host(), "reviews." + c.namespace + ".svc", "reviews." + c.namespace, "reviews"}
	if hosts, _, _ := unstructured.NestedSlice(c.route.Object, "spec", "hosts"); !cmp.Equal(want, hosts) {
		t.Errorf("hosts %v", hosts)
	}
	c.apply(t, c.namespace, companionService)
	eventually(t, "the routes are those of the Service", func(ctx context.Context) error {
		if err := owned("")(ctx); err != nil {
			return err
		}
		if hosts, _, _ := unstructured.NestedSlice(c.route.Object, "spec", "hosts"); len(hosts) != 1 {
			return fmt.Errorf("hosts %v", hosts)
		}
		return nil
	})
	if err := c.Delete(t.Context(), c.service(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the routes take every name again", func(ctx context.Context) error {
		if err := owned("")(ctx); err != nil {
			return err
		}
		if hosts, _, _ := unstructured.NestedSlice(c.route.Object, "spec", "hosts"); len(hosts) != 4 {
			return fmt.Errorf("hosts %v", hosts)
		}
		return nil
	})
	if c.rule.GetUID() != first {
		t.Error("the rule was made anew in between")
	}
	c.configure(t, subsetConfig)
	eventually(t, "they are gone", c.none)
	c.configure(t, named)
	c.apply(t, c.namespace, companionService)
	eventually(t, "they stand again", owned(""))
	c.configure(t, subsetConfig)
	eventually(t, "they belong to the Service", owned(c.service(t).UID))
}

func TestCompanionsAreMade(t *testing.T) {
	c := startCompanions(t, subsetConfig, companionService, quickly)
	eventually(t, "the companions stand", c.both)
	uid := c.service(t).UID
	for _, u := range []*unstructured.Unstructured{c.rule, c.route} {
		owner := metav1.GetControllerOf(u)
		if owner == nil || owner.UID != uid || owner.Kind != "Service" {
			t.Errorf("%s is owned by %v, want the Service", u.GetKind(), owner)
		}
		if by := u.GetLabels()["app.kubernetes.io/managed-by"]; by != "meshfence" {
			t.Errorf("%s is managed by %q", u.GetKind(), by)
		}
		if u.GetGeneration() != 1 {
			t.Errorf("%s was changed on its way or afterwards: generation %d", u.GetKind(), u.GetGeneration())
		}
	}
	want := map[string]any{
		"host": c.host(), "exportTo": []any{"*"},
		"subsets": []any{map[string]any{"name": "meshfence-local", "labels": map[string]any{policy.ClusterLabel: "m1c5"}}},
	}
	if diff := cmp.Diff(want, c.rule.Object["spec"]); diff != "" {
		t.Errorf("DestinationRule (-want +got):\n%s", diff)
	}
	c.annotate(t, "prefer")
	eventually(t, "the route goes", func(ctx context.Context) error { return c.gone(ctx, c.route) })
	eventually(t, "the rule prefers", func(ctx context.Context) error {
		return errors.Join(c.read(ctx, c.rule), mustHold(c.rule, "failoverPriority"))
	})
	c.annotate(t, "none")
	eventually(t, "the companions go", c.none)
	eventually(t, "every write is counted and none was in vain", func(context.Context) error {
		want := map[string]float64{"create": 2, "update": 1, "delete": 2}
		for action, n := range want {
			if got := c.metric(t, "meshfence_companion_writes_total", action); got != n {
				return fmt.Errorf("%v times %s, want %v", got, action, n)
			}
		}
		return nil
	})
}

// mustHold returns nil where the spec of an object holds some text.
func mustHold(u *unstructured.Unstructured, text string) error {
	if spec := fmt.Sprint(u.Object["spec"]); !strings.Contains(spec, text) {
		return fmt.Errorf("%s does not hold %q: %s", u.GetKind(), text, spec)
	}
	return nil
}

func TestCompanionsFollowPortsAndConfig(t *testing.T) {
	c := startCompanions(t, subsetConfig, companionService, quickly)
	eventually(t, "the companions stand", c.both)
	s := c.service(t)
	s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "tls-admin", Port: 9443})
	if err := c.Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the route takes short names", func(ctx context.Context) error {
		return errors.Join(c.read(ctx, c.route), mustHold(c.route, "reviews."+c.namespace+".svc reviews."))
	})
	for _, locality := range []string{"eu/*", "us/*"} {
		c.configure(t, fmt.Sprintf(localityConfig, locality))
		eventually(t, "the rule names "+locality, func(ctx context.Context) error {
			return errors.Join(c.read(ctx, c.rule), mustHold(c.rule, locality), c.gone(ctx, c.route))
		})
	}
	c.configure(t, "controlPlane: {clusters: [m1c5]}\nholds: [meshConfig]\n")
	eventually(t, "the companions go", c.none)
}

// TestCompanionsComeWithTheNamespace has a Service that the backfill cannot write, so that only the index tells of
// its fence.
func TestCompanionsComeWithTheNamespace(t *testing.T) {
	unfenced := strings.Replace(companionService, "annotations: {meshfence.io/fence: strict}", "labels: {refuse: ''}", 1)
	c := startCompanions(t, subsetConfig, unfenced, quickly)
	c.refuseLabelled(t, c.service(t))
	label := func(patch string) {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}
		if err := c.Patch(t.Context(), namespace, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
			t.Fatal(err)
		}
	}
	label(`{"metadata": {"labels": {"meshfence.io/fence": "strict"}}}`)
	eventually(t, "the companions stand", c.both)
	label(`{"metadata": {"labels": {"meshfence.io/fence": null}}}`)
	eventually(t, "the companions go", c.none)
}

func TestCompanionsGiveWay(t *testing.T) {
	c := startCompanions(t, subsetConfig, companionService, quickly)
	eventually(t, "the companions stand", c.both)
	c.apply(t, c.namespace, `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: mine}
spec: {host: reviews, trafficPolicy: {connectionPool: {tcp: {maxConnections: 5}}}}
`)
	eventually(t, "the rule gives way", func(ctx context.Context) error {
		return errors.Join(c.gone(ctx, c.rule), c.read(ctx, c.route))
	})
	c.apply(t, c.namespace, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mine}
spec: {hosts: [%s], http: [{route: [{destination: {host: reviews}}]}]}
`, c.host()))
	eventually(t, "the route gives way", c.none)
	for _, kind := range []string{object.KindDestinationRule, object.KindVirtualService} {
		if err := c.Delete(t.Context(), istio(kind, c.namespace, "mine")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the companions return", c.both)
}

// TestCompanionsShareWithRoutes has a VirtualService that takes the place of a companion for requests alone: nothing is put
// into it, and the companion has what it has no routes for.
func TestCompanionsShareWithRoutes(t *testing.T) {
	c := startCompanions(t, subsetConfig, strings.Replace(companionService, "9080}", "9080}, {name: tcp, port: 9090}", 1), quickly)
	eventually(t, "the companions stand", c.both)
	routes := func(sections string) {
		c.apply(t, c.namespace, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: mine}
spec: {hosts: [%s], %s}
`, c.host(), sections))
	}
	companion := func(want ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			if err := c.read(ctx, c.route); err != nil {
				return err
			}
			spec, _, _ := unstructured.NestedMap(c.route.Object, "spec")
			got := slices.DeleteFunc(slices.Sorted(maps.Keys(spec)), func(field string) bool { return field == "hosts" || field == "exportTo" })
			if !slices.Equal(got, want) {
				return fmt.Errorf("sections %v, want %v", got, want)
			}
			return nil
		}
	}
	const (
		http = "http: [{route: [{destination: {host: reviews}}]}]"
		tcp  = "tcp: [{route: [{destination: {host: reviews}}]}]"
	)
	routes(http)
	eventually(t, "the companion leaves the requests alone", companion("tcp", "tls"))
	mine := istio(object.KindVirtualService, c.namespace, "mine")
	if err := c.read(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	if spec, _, _ := unstructured.NestedMap(mine.Object, "spec"); len(spec) != 2 {
		t.Errorf("something is put into the VirtualService: %v", spec)
	}
	routes(http + ", " + tcp)
	eventually(t, "the companion leaves TCP alone, too", companion("tls"))
	if err := c.Delete(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the companion takes everything", companion("http", "tcp", "tls"))
}

// TestCompanionsStayBeside has objects in the namespace that do not take the place of a companion.
func TestCompanionsStayBeside(t *testing.T) {
	c := startCompanions(t, subsetConfig, companionService, quickly)
	c.apply(t, c.namespace, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: for-some}
spec: {host: reviews, workloadSelector: {matchLabels: {app: web}}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: loud}
spec: {host: Reviews}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: at-the-gateway}
spec: {hosts: [%[1]s], gateways: [front], http: [{route: [{destination: {host: reviews}}]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: private}
spec: {hosts: [%[1]s], exportTo: ["."], http: [{route: [{destination: {host: reviews}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: last, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: last}, ports: [{port: 80}]}
`, c.host()))
	// The last Service comes after the others, so that all of them have been seen by then.
	eventually(t, "the companions of the last Service stand", func(ctx context.Context) error {
		return c.read(ctx, istio(object.KindVirtualService, c.namespace, "last-meshfence"))
	})
	eventually(t, "the companions stand", c.both)
	if got := c.metric(t, "meshfence_companion_writes_total", "delete"); got != 0 {
		t.Errorf("%v companions were deleted", got)
	}
}

func TestCompanionsAreRepaired(t *testing.T) {
	c := startCompanions(t, subsetConfig, companionService, controller.Options{Settle: 5 * time.Minute})
	eventually(t, "the rule stands", func(ctx context.Context) error { return c.read(ctx, c.rule) })
	if err := c.gone(t.Context(), c.route); err != nil {
		t.Fatalf("the route must wait for the rule to settle: %v", err)
	}
	c.leader.stop(t)
	c.leader = c.lead(t, quickly)
	eventually(t, "the companions stand", c.both)
	c.leader.stop(t)
	c.leader = c.lead(t, controller.Options{Settle: 5 * time.Minute})
	spoilt := c.route.DeepCopy()
	spoilt.Object["spec"] = map[string]any{"hosts": []any{c.host()}, "http": []any{map[string]any{
		"route": []any{map[string]any{"destination": map[string]any{"host": c.host(), "subset": "meshfence-local"}}},
	}}}
	if err := c.itself(t).Update(t.Context(), spoilt); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the controller fixes a spoilt route", func(ctx context.Context) error {
		return errors.Join(c.read(ctx, c.route), mustHold(c.route, "exportTo"))
	})
	for _, u := range []*unstructured.Unstructured{c.route, c.rule} {
		if err := c.Delete(t.Context(), u); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "companions that went come back without waiting", c.both)
}

// TestCompanionNameIsTaken has an object with the name of a companion from before meshfence.
func TestCompanionNameIsTaken(t *testing.T) {
	c := startCompanions(t, subsetConfig, strings.Replace(companionService, "strict", "none", 1), quickly)
	taken := istio(object.KindDestinationRule, c.namespace, "reviews-meshfence")
	taken.Object["spec"] = map[string]any{"host": "ratings"}
	if err := c.itself(t).Create(t.Context(), taken); err != nil {
		t.Fatal(err)
	}
	c.annotate(t, "strict")
	eventually(t, "an Event tells of it", func(ctx context.Context) error {
		return c.event(ctx, "CompanionNameTaken", "Service")
	})
	eventually(t, "the companions stand", c.both)
	if held := c.rule.GetAnnotations()["meshfence.io/replaced"]; held != `{"host":"ratings"}` {
		t.Errorf("the annotation keeps %q", held)
	}
	eventually(t, "nothing is blocked", func(context.Context) error {
		if got := c.metric(t, "meshfence_companions_blocked"); got != 0 {
			return fmt.Errorf("%v Services are blocked", got)
		}
		return nil
	})
	c.annotate(t, "none")
	eventually(t, "the object is given back when the fence goes", func(ctx context.Context) error {
		if err := c.read(ctx, taken); err != nil {
			return err
		}
		if host, _, _ := unstructured.NestedString(taken.Object, "spec", "host"); host != "ratings" || len(taken.GetLabels()) > 0 || len(taken.GetAnnotations()) > 0 {
			return fmt.Errorf("it is %v", taken.Object)
		}
		return nil
	})
}

// TestCompanionRouteWaits has a rule without the reserved subset, which was there before meshfence and which another policy
// keeps as it is: a route to the subset would end every call with 503.
func TestCompanionRouteWaits(t *testing.T) {
	b := newLeaderBed(t, subsetConfig)
	namespace := b.CreateNamespace(t, nil)
	b.apply(t, namespace, companionService+`
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: mine, labels: {refuse: ""}}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: v1
kind: Service
metadata: {name: last, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: last}, ports: [{port: 80}]}
`)
	route, rule := istio(object.KindVirtualService, namespace, "reviews-meshfence"), istio(object.KindDestinationRule, namespace, "mine")
	b.refuseLabelled(t, rule)
	b.lead(t, quickly)
	eventually(t, "an Event tells of it, with the name of the rule", func(ctx context.Context) error {
		return b.event(ctx, "RuleLacksSubset", "Service", "DestinationRule mine has no subset")
	})
	eventually(t, "the route of a Service without such a rule stands", func(ctx context.Context) error {
		return b.read(ctx, istio(object.KindVirtualService, namespace, "last-meshfence"))
	})
	if err := b.gone(t.Context(), route); err != nil {
		t.Errorf("the route must wait for the subset: %v", err)
	}
	if err := b.Patch(t.Context(), rule, client.RawPatch("application/merge-patch+json", []byte(`{"metadata": {"labels": {"refuse": null}}}`))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the route follows the subset", func(ctx context.Context) error {
		return errors.Join(b.read(ctx, rule), mustHold(rule, policy.ReservedSubset), b.read(ctx, route))
	})
}

// itself returns a client that writes as meshfence does, which alone may write companions.
func (b *leaderBed) itself(t *testing.T) client.Client {
	t.Helper()
	c, err := client.New(b.As("system:serviceaccount:fence-system:meshfence"), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// event returns nil where there is an Event with that reason on an object of that kind, whose message holds all texts.
func (b *leaderBed) event(ctx context.Context, reason, kind string, texts ...string) error {
	var events corev1.EventList
	if err := b.List(ctx, &events); err != nil {
		return err
	}
	for _, e := range events.Items {
		lacks := func(text string) bool { return !strings.Contains(e.Message, text) }
		if e.Reason == reason && e.InvolvedObject.Kind == kind && !slices.ContainsFunc(texts, lacks) {
			return nil
		}
	}
	return fmt.Errorf("none of %d Events says %s of a %s", len(events.Items), reason, kind)
}

func TestCompanionsGoWithTheService(t *testing.T) {
	c := startCompanions(t, subsetConfig, companionService, quickly)
	eventually(t, "the companions stand", c.both)
	if err := c.Delete(t.Context(), c.service(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the garbage collector takes the companions", c.none)
	if got := c.metric(t, "meshfence_companion_writes_total", "delete"); got != 0 {
		t.Errorf("%v companions were deleted by the controller", got)
	}
}

// TestCompanionRuleOutlastsRoutes loosens a fence while a user's route leads to the reserved subset.
func TestCompanionRuleOutlastsRoutes(t *testing.T) {
	for fence, after := range map[string]func(*companions, context.Context) error{
		"none": (*companions).none,
		"prefer": func(c *companions, ctx context.Context) error {
			return errors.Join(c.read(ctx, c.rule), mustHold(c.rule, "failoverPriority"))
		},
	} {
		t.Run(fence, func(t *testing.T) {
			c := startCompanions(t, subsetConfig, companionService, quickly)
			eventually(t, "the companions stand", c.both)
			elsewhere := c.CreateNamespace(t, nil)
			route := istio(object.KindVirtualService, elsewhere, "web")
			c.apply(t, elsewhere, fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, labels: {refuse: ''}}
spec: {hosts: [web], http: [{route: [{destination: {host: %s}}]}]}
`, c.host()))
			if err := errors.Join(c.read(t.Context(), route), mustHold(route, policy.ReservedSubset)); err != nil {
				t.Fatal(err)
			}
			c.refuseLabelled(t, route)
			c.annotate(t, fence)
			eventually(t, "the companion route goes", func(ctx context.Context) error { return c.gone(ctx, c.route) })
			eventually(t, "the backfill cannot write the other route", func(context.Context) error {
				if c.metric(t, "meshfence_backfill_objects", "failed") != 1 {
					return errors.New("nothing was refused")
				}
				return nil
			})
			if err := errors.Join(c.read(t.Context(), c.rule), mustHold(c.rule, policy.ReservedSubset)); err != nil {
				t.Fatalf("the companion rule must stay as it is: %v", err)
			}
			if err := c.Delete(t.Context(), route); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the companion rule follows", func(ctx context.Context) error { return after(c, ctx) })
		})
	}
}

func TestNoCompanionsForExternalName(t *testing.T) {
	c := startCompanions(t, "controlPlane: {clusters: [m1c5]}\nholds: [subset]\nenforcement: audit\n", `
apiVersion: v1
kind: Service
metadata: {name: reviews, annotations: {meshfence.io/fence: strict}}
spec: {type: ExternalName, externalName: example.com}
---
`+strings.Replace(companionService, "name: reviews", "name: ratings", 1), quickly)
	eventually(t, "the companions of the other Service stand", func(ctx context.Context) error {
		return c.read(ctx, istio(object.KindVirtualService, c.namespace, "ratings-meshfence"))
	})
	if err := c.none(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCompanionsWaitForIstio starts in a cluster that has no Istio yet.
func TestCompanionsWaitForIstio(t *testing.T) {
	b, err := makeLeaderBed(testbed.Options{Number: 6, Name: "m1c6", WithoutIstio: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	b.configure(t, subsetConfig)
	l := b.lead(t, quickly)
	t.Cleanup(func() { l.stop(t) })
	namespace := b.CreateNamespace(t, nil)
	b.apply(t, namespace, companionService)
	crds, err := testbed.Tool("istio-crds")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Kubectl(t.Context(), "", "create", "-f", crds); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the companions stand", func(ctx context.Context) error {
		return errors.Join(b.read(ctx, istio(object.KindDestinationRule, namespace, "reviews-meshfence")),
			b.read(ctx, istio(object.KindVirtualService, namespace, "reviews-meshfence")))
	})
	// Rules can relate objects of the kinds that have appeared.
	b.apply(t, namespace, "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: late}, spec: {egress: [{hosts: ['*/*']}]}}")
	late := object.Key{Kind: object.KindSidecar, Namespace: namespace, Name: "late"}
	eventually(t, "the new kinds are in the index", func(context.Context) error {
		if !slices.Contains(l.index.Objects(), late) {
			return fmt.Errorf("only %v", l.index.Objects())
		}
		return nil
	})
}

// Somebody who answers each write of a companion at once, as a second installation would, is told of, and the two come
// to rest.
func TestCompanionWritersRest(t *testing.T) {
	c := startCompanions(t, subsetConfig, companionService, quickly)
	eventually(t, "the companions stand", c.both)
	for _, kind := range []string{"mutating", "validating"} { // another installation would have rights of its own
		if _, _, err := c.Kubectl(t.Context(), "", "delete", kind+"webhookconfiguration", "fence-leader"); err != nil {
			t.Fatal(err)
		}
	}
	before := c.metric(t, "meshfence_companion_writes_total")
	other := func(ctx context.Context) error {
		if err := c.read(ctx, c.rule); err != nil {
			return err
		}
		if err := unstructured.SetNestedField(c.rule.Object, "10s", "spec", "trafficPolicy", "connectionPool", "tcp", "connectTimeout"); err != nil {
			return err
		}
		return client.IgnoreNotFound(c.Update(ctx, c.rule))
	}
	for deadline := time.Now().Add(8 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err := other(t.Context()); err != nil && !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
	}
	if writes := c.metric(t, "meshfence_companion_writes_total") - before; writes < 6 || writes > 10 {
		t.Errorf("%v writes in eight seconds, want six at once and a few more", writes)
	}
	eventually(t, "an Event tells of it", func(ctx context.Context) error { return c.event(ctx, "CompanionContested", object.KindService) })
	if told := c.metric(t, "meshfence_contested_objects_total"); told != 1 {
		t.Errorf("%v contests are counted, want 1", told)
	}
}

// stripWebhook registers a webhook that is asked after those of meshfence.
const stripWebhook = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: zz-strip}
webhooks:
- name: strip.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  rules: [{apiGroups: [networking.istio.io], apiVersions: ["*"], resources: [destinationrules], operations: [CREATE, UPDATE]}]
  clientConfig: {url: "%s/", caBundle: "%s"}
`

// strips starts a webhook that takes the trafficPolicy out of every DestinationRule.
func (b *leaderBed) strips(t *testing.T) {
	t.Helper()
	var listening net.ListenConfig
	listener, err := listening.Listen(t.Context(), "tcp", net.JoinHostPort(b.Address.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		response := &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
		if strings.Contains(string(review.Request.Object.Raw), `"trafficPolicy"`) {
			response.Patch, response.PatchType = []byte(`[{"op": "remove", "path": "/spec/trafficPolicy"}]`), new(admissionv1.PatchTypeJSONPatch)
		}
		review.Request, review.Response = nil, response
		_ = json.NewEncoder(w).Encode(review) // who has hung up gets no answer
	}))
	server.Listener, server.TLS = listener, &tls.Config{Certificates: []tls.Certificate{b.certificate}}
	server.StartTLS()
	t.Cleanup(server.Close)
	if err := b.Cluster.Apply(t.Context(), fmt.Sprintf(stripWebhook, server.URL, base64.StdEncoding.EncodeToString(b.ca))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, _, err := b.Kubectl(context.Background(), "", "delete", "mutatingwebhookconfiguration", "zz-strip"); err != nil {
			t.Error(err)
		}
	})
}

// A webhook that takes out what companions are made of is told of, and the companion is not written again and again.
func TestCompanionIsStripped(t *testing.T) {
	c := startCompanions(t, subsetConfig, strings.Replace(companionService, "strict", "none", 1), quickly)
	c.strips(t)
	time.Sleep(time.Second) // the API server has read the registration
	c.annotate(t, "prefer")
	eventually(t, "an Event tells of it", func(ctx context.Context) error { return c.event(ctx, "CompanionChanged", object.KindService) })
	time.Sleep(8 * time.Second)
	writes := c.metric(t, "meshfence_companion_writes_total")
	t.Logf("%v writes in eight seconds", writes)
	if writes > 10 {
		t.Errorf("%v writes in eight seconds, want six at once and a few more", writes)
	}
	if err := c.read(t.Context(), c.rule); err != nil || mustHold(c.rule, "failoverPriority") == nil {
		t.Errorf("nothing was stripped: %v, %v", err, c.rule.Object["spec"])
	}
}
