package doctor_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence"
	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/doctor"
	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// now is when everything in these tests is looked at.
func now() time.Time { return time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC) }

func parseConfig(t *testing.T, more string) *policy.Config {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\ncontrolPlane: {clusters: [m1c1]}\nholds: [meshConfig, subset]\n"+more))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// healthy is an observation in which all is fine.
func healthy(t *testing.T) doctor.Observation {
	t.Helper()
	config := parseConfig(t, "")
	ca := certificate(t, now().Add(100*24*time.Hour))
	o := doctor.Observation{Cluster: "m1c1", Namespace: policy.InstallNamespace, Now: now()}
	o.Config.Value = doctor.Config{Current: config, InForce: config, Kept: true}
	o.CA.Value = ca
	o.Wanted.Webhooks = render(t)
	o.Webhooks.Value = render(t)
	for _, c := range []*unstructured.Unstructured{o.Webhooks.Value.Mutating, o.Webhooks.Value.Validating} {
		eachWebhook(t, c, func(w map[string]any) { setBundle(t, w, ca) })
	}
	o.Replicas.Value = doctor.Replicas{
		Deployment: &appsv1.Deployment{Spec: appsv1.DeploymentSpec{Replicas: new(int32(2))}},
		Pods:       []corev1.Pod{pod("a", "meshfence:1"), pod("b", "meshfence:1")},
		Service:    &corev1.Service{},
		Lease: &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{
			HolderIdentity: new("a"), RenewTime: new(metav1.NewMicroTime(now().Add(-time.Second))),
		}},
	}
	for _, name := range []string{"a", "b"} {
		o.Metrics = append(o.Metrics, doctor.Metrics{Pod: name, Values: map[string]string{
			"meshfence_build_info": `{version="1"}`, "meshfence_config_info": fmt.Sprintf("{hash=%q}", config.Hash()), "meshfence_config_last_reload_success": "1",
		}})
	}
	for _, entry := range []string{"services.mutate.meshfence.io", "istio.validate.meshfence.io"} {
		o.Probes = append(o.Probes, doctor.Probe{Entry: entry, Reply: doctor.Answered})
	}
	o.Rights.Value = []doctor.Right{{Verb: "list", Resource: "services"}}
	o.Mesh.Value = install.Mesh{Istiods: []install.Istiod{{
		Namespace: "istio-system", Name: "istiod", Revision: "default", Version: meshfence.IstioVersion(), ClusterID: "m1c1", Env: map[string]string{},
	}}}
	o.Fences.Value.Index = policy.NewIndex(config)
	o.Fences.Value.Report.Holds = []audit.HoldReport{{Hold: "meshConfig", State: policy.HoldTrue}}
	return o
}

// configure puts another FenceConfig in force everywhere.
func configure(t *testing.T, o *doctor.Observation, more string) {
	t.Helper()
	config := parseConfig(t, more)
	o.Config.Value.Current, o.Config.Value.InForce = config, config
	for _, m := range o.Metrics {
		m.Values["meshfence_config_info"] = fmt.Sprintf("{hash=%q}", config.Hash())
	}
}

func pod(name, image string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Image: image}}},
		Status:     corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	}
}

func render(t *testing.T) doctor.Webhooks {
	t.Helper()
	objects, err := install.Render(install.Options{Certificates: install.SelfSigned, Enforcement: policy.Enforce})
	if err != nil {
		t.Fatal(err)
	}
	var webhooks doctor.Webhooks
	for _, o := range objects {
		switch o.GetKind() {
		case "MutatingWebhookConfiguration":
			webhooks.Mutating = o
		case "ValidatingWebhookConfiguration":
			webhooks.Validating = o
		}
	}
	return webhooks
}

// eachWebhook changes every webhook of a configuration.
func eachWebhook(t *testing.T, configuration *unstructured.Unstructured, change func(map[string]any)) {
	t.Helper()
	list, _, err := unstructured.NestedSlice(configuration.Object, "webhooks")
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range list {
		change(w.(map[string]any))
	}
	if err := unstructured.SetNestedSlice(configuration.Object, list, "webhooks"); err != nil {
		t.Fatal(err)
	}
}

// change changes the webhook of a name.
func change(t *testing.T, o *doctor.Observation, name string, change func(map[string]any)) {
	t.Helper()
	for _, c := range []*unstructured.Unstructured{o.Webhooks.Value.Mutating, o.Webhooks.Value.Validating} {
		eachWebhook(t, c, func(w map[string]any) {
			if w["name"] == name {
				change(w)
			}
		})
	}
}

// closed are the webhooks that this version has fail closed.
func closed(t *testing.T) []string {
	t.Helper()
	var names []string
	eachWebhook(t, render(t).Validating, func(w map[string]any) {
		if w["failurePolicy"] == "Fail" {
			names = append(names, w["name"].(string))
		}
	})
	slices.Sort(names)
	return names
}

func TestHealthy(t *testing.T) {
	t.Parallel()
	results := doctor.Examine(healthy(t))
	for _, r := range results {
		if r.Outcome != doctor.OK || r.Cluster != "m1c1" || r.Seen == "" || r.Fix != "" {
			t.Errorf("%+v", r)
		}
	}
	if len(results) != len(doctor.Checks()) {
		t.Errorf("%d results of %d checks", len(results), len(doctor.Checks()))
	}
}

// Each case changes what was seen of a healthy installation, and names all that is said of it.
func TestChecks(t *testing.T) {
	t.Parallel()
	const istio = "istio.validate.meshfence.io"
	gone := errors.New("forbidden")
	for name, test := range map[string]struct {
		change func(*testing.T, *doctor.Observation)
		want   []string
	}{
		"no FenceConfig": {func(_ *testing.T, o *doctor.Observation) {
			o.Config.Value = doctor.Config{Problem: errors.New("not found")}
			o.Fences.Err = errors.New("no FenceConfig is in force")
		}, []string{
			"failed fenceconfig: not found; none is in force", "unknown failure-policy: not examined: no FenceConfig says what the enforcement is",
			"unknown cluster-id: not examined: there is no FenceConfig to compare with", "unknown mesh-configmaps: not examined: there is no FenceConfig to compare with",
			"unknown istio: not examined: there is no FenceConfig to compare with", "unknown holds: not examined: no FenceConfig is in force",
			"unknown held: not examined: no FenceConfig is in force", "unknown findings: not examined: no FenceConfig is in force",
			"unknown duplicates: not examined: no FenceConfig is in force", "unknown endpoints: not examined: no FenceConfig is in force",
		}},
		"a FenceConfig that is not valid": {func(_ *testing.T, o *doctor.Observation) {
			o.Config.Value.Problem, o.Config.Value.Current = errors.New("line 3: no"), nil
		}, []string{"failed fenceconfig: line 3: no; the last good one is in force"}},
		"a FenceConfig that nobody has read": {func(_ *testing.T, o *doctor.Observation) { o.Config.Value.Kept = false },
			[]string{"warning fenceconfig: the ConfigMap is valid, but the leader has not kept it as the last good one: it may not be in force"}},
		"no right to read the FenceConfig": {func(_ *testing.T, o *doctor.Observation) { o.Config.Err = gone }, []string{"unknown fenceconfig: not examined: forbidden"}},

		"not installed": {func(_ *testing.T, o *doctor.Observation) { o.Replicas.Value = doctor.Replicas{} },
			[]string{"failed replicas: there is no Deployment meshfence in namespace meshfence-system"}},
		"no replica is ready": {func(_ *testing.T, o *doctor.Observation) {
			for i := range o.Replicas.Value.Pods {
				o.Replicas.Value.Pods[i].Status.Conditions = nil
			}
			o.Metrics = nil
		}, []string{"failed replicas: none of 2 replicas is ready", "unknown same-config: not examined: no replica is ready to be asked for its metrics"}},
		"a replica is missing, and another has another image": {func(_ *testing.T, o *doctor.Observation) {
			o.Replicas.Value.Deployment.Spec.Replicas = new(int32(3))
			o.Replicas.Value.Pods[1].Spec.Containers[0].Image = "meshfence:2"
		}, []string{"warning replicas: 2 of 3 replicas are ready", "warning replicas: the replicas have several images: meshfence:1, meshfence:2"}},
		"the Service is gone": {func(_ *testing.T, o *doctor.Observation) { o.Replicas.Value.Service = nil },
			[]string{"failed replicas: there is no Service meshfence: the API server makes no new connection to a replica"}},
		"scaled to nothing": {func(_ *testing.T, o *doctor.Observation) {
			o.Replicas.Value.Deployment.Spec.Replicas, o.Replicas.Value.Pods, o.Metrics = new(int32(0)), nil, nil
		}, []string{"failed replicas: the Deployment has no replicas", "unknown same-config: not examined: no replica is ready to be asked for its metrics"}},
		"nobody has ever led": {func(_ *testing.T, o *doctor.Observation) { o.Replicas.Value.Lease = nil },
			[]string{"failed replicas: no replica leads: nothing is written, and nothing old is brought in line"}},
		"the leader is gone": {func(_ *testing.T, o *doctor.Observation) {
			o.Replicas.Value.Lease.Spec.RenewTime = new(metav1.NewMicroTime(now().Add(-time.Minute)))
		}, []string{"failed replicas: no replica leads: a has not renewed the lease for 1m0s"}},

		"another version and a stale config": {func(_ *testing.T, o *doctor.Observation) {
			o.Metrics[1].Values = map[string]string{
				"meshfence_build_info": `{version="2"}`, "meshfence_config_info": o.Metrics[0].Values["meshfence_config_info"], "meshfence_config_last_reload_success": "0",
			}
		}, []string{
			"failed same-config: Pod b could not read the FenceConfig as it is now, and has the last good one in force",
			`failed same-config: the replicas differ in meshfence_build_info: {version="1"} in a; {version="2"} in b`,
			"failed same-config: the replicas differ in meshfence_config_last_reload_success: 0 in b; 1 in a",
		}},
		"another config in both": {func(_ *testing.T, o *doctor.Observation) {
			for _, m := range o.Metrics {
				m.Values["meshfence_config_info"] = `{hash="old"}`
			}
		}, []string{
			"failed same-config: Pod a has another FenceConfig in force than the one in the cluster",
			"failed same-config: Pod b has another FenceConfig in force than the one in the cluster",
		}},
		"a hold that one replica does not name": {func(_ *testing.T, o *doctor.Observation) {
			o.Metrics[0].Values[`meshfence_hold_active{hold="subset"}`] = "1"
		},
			[]string{`failed same-config: the replicas differ in meshfence_hold_active{hold="subset"}: 1 in a`}},
		"metrics of something else": {func(_ *testing.T, o *doctor.Observation) { o.Metrics = []doctor.Metrics{{Pod: "a"}} },
			[]string{"unknown same-config: not examined: what Pod a serves as metrics is not what meshfence does"}},
		"metrics that cannot be read": {func(_ *testing.T, o *doctor.Observation) { o.Metrics[0] = doctor.Metrics{Pod: "a", Err: gone} },
			[]string{"unknown same-config: not examined: read the metrics of Pod a: forbidden"}},

		"a configuration is gone": {func(_ *testing.T, o *doctor.Observation) { o.Webhooks.Value.Mutating = nil },
			[]string{"failed webhooks: there is no MutatingWebhookConfiguration meshfence: the API server does not call"}},
		"a webhook has other rules and a timeout": {func(t *testing.T, o *doctor.Observation) {
			change(t, o, istio, func(w map[string]any) { w["rules"], w["timeoutSeconds"] = []any{}, int64(30) })
		}, []string{"failed webhooks: rules, timeoutSeconds of webhook " + istio + " is not what this version installs"}},
		"a webhook has another name": {func(t *testing.T, o *doctor.Observation) {
			change(t, o, istio, func(w map[string]any) { w["name"] = "old.meshfence.io" })
		}, []string{"failed webhooks: ValidatingWebhookConfiguration meshfence has no webhook " + istio,
			"warning webhooks: ValidatingWebhookConfiguration meshfence has webhook old.meshfence.io, which this version does not install",
			"failed failure-policy: webhooks refuse writes in an outage that should pass: old.meshfence.io"}},
		"what the API server fills in": {func(t *testing.T, o *doctor.Observation) {
			change(t, o, istio, func(w map[string]any) {
				w["objectSelector"] = map[string]any{}
				w["clientConfig"].(map[string]any)["service"].(map[string]any)["port"] = int64(443)
			})
		}, nil},
		"no namespace is excluded": {func(t *testing.T, o *doctor.Observation) {
			change(t, o, istio, func(w map[string]any) { delete(w, "namespaceSelector") })
		}, []string{"failed webhooks: namespaceSelector of webhook " + istio + " is not what this version installs",
			"failed excluded: webhook " + istio + " is called for namespace kube-system", "failed excluded: webhook " + istio + " is called for namespace meshfence-system"}},
		"webhooks cannot be read": {func(_ *testing.T, o *doctor.Observation) { o.Webhooks.Err = gone },
			[]string{"unknown webhooks: not examined: forbidden", "unknown excluded: not examined: forbidden", "unknown failure-policy: not examined: forbidden", "unknown trusted: not examined: forbidden"}},
		"a webhook fails open": {func(t *testing.T, o *doctor.Observation) {
			change(t, o, istio, func(w map[string]any) { w["failurePolicy"] = "Ignore" })
		}, []string{"warning failure-policy: enforcement is enforce, and yet an outage lets leaks in: " + istio}},

		"no CA": {func(t *testing.T, o *doctor.Observation) {
			change(t, o, istio, func(w map[string]any) { delete(w["clientConfig"].(map[string]any), "caBundle") })
		}, []string{"failed trusted: the caBundle holds no certificate: " + istio}},
		"another CA": {func(t *testing.T, o *doctor.Observation) {
			change(t, o, istio, func(w map[string]any) { setBundle(t, w, certificate(t, now().Add(time.Hour))) })
		}, []string{"failed trusted: the caBundle does not hold the CA that signs: " + istio}},
		"a CA that ends soon": {func(t *testing.T, o *doctor.Observation) { withCA(t, o, now().Add(10*24*time.Hour)) },
			[]string{"warning trusted: the CA lasts for another 10 days only, and should have been renewed"}},
		"a served certificate that ends soon": {func(_ *testing.T, o *doctor.Observation) {
			o.Metrics[0].Served, o.Metrics[1].Served = now().Add(5*24*time.Hour), now().Add(23*time.Hour)
		}, []string{"warning trusted: b serves a certificate that ends at 2026-11-29T11:00:00Z, and should have been renewed"}},
		"served certificates that last": {func(_ *testing.T, o *doctor.Observation) {
			o.Metrics[0].Served, o.Metrics[1].Served = now().Add(5*24*time.Hour), now().Add(25*time.Hour)
		}, nil},
		"a CA that has ended": {func(t *testing.T, o *doctor.Observation) { withCA(t, o, now().Add(-time.Hour)) },
			[]string{"failed trusted: the CA has expired: every webhook"}},
		"a CA that cannot be read, and answers": {func(_ *testing.T, o *doctor.Observation) { o.CA.Err = gone }, nil},
		"a CA that cannot be read, and nothing answers": {func(_ *testing.T, o *doctor.Observation) { o.CA.Err, o.Probes = gone, nil },
			[]string{"unknown trusted: not examined: whether the caBundle of every webhook is right: forbidden"}},

		"a CA that cannot be read, and no answer": {func(_ *testing.T, o *doctor.Observation) {
			o.CA.Err = gone
			for i := range o.Probes {
				o.Probes[i].Reply, o.Probes[i].Text = doctor.Unreachable, "x509"
			}
		}, []string{
			"unknown trusted: not examined: whether the caBundle of every webhook is right: forbidden",
			"failed called: services.mutate.meshfence.io could not be called: x509", "failed called: " + istio + " could not be called: x509",
		}},
		"not called under audit": {func(_ *testing.T, o *doctor.Observation) {
			o.Webhooks.Value.Validating = nil
			o.Probes[1].Reply, o.Probes[1].Audited = doctor.Silent, true
		}, []string{
			"failed webhooks: there is no ValidatingWebhookConfiguration meshfence: the API server does not call",
			"failed called: a dry run passed that " + istio + " should have changed, refused or warned of: the API server does not call it, or gets no answer",
		}},
		"not called": {func(_ *testing.T, o *doctor.Observation) { o.Probes[0].Reply = doctor.Silent }, []string{
			"failed called: a dry run passed that services.mutate.meshfence.io should have changed, refused or warned of: the API server does not call it, or gets no answer"}},
		"passed by what fails closed": {func(_ *testing.T, o *doctor.Observation) { o.Probes[1].Reply = doctor.Silent }, nil},
		"passed by what fails open": {func(t *testing.T, o *doctor.Observation) {
			o.Probes[1].Reply = doctor.Silent
			failOpen(t, o)
		}, []string{"failed called: a dry run passed that " + istio + " should have changed, refused or warned of: the API server does not call it, or gets no answer"}},
		"an outage refuses under audit": {func(t *testing.T, o *doctor.Observation) {
			configure(t, o, "enforcement: audit")
		}, []string{
			"warning failure-policy: enforcement is audit, and yet an outage refuses writes: " + strings.Join(closed(t), ", ")}},
		"nothing is refused under audit": {func(t *testing.T, o *doctor.Observation) {
			configure(t, o, "enforcement: audit")
			eachWebhook(t, o.Webhooks.Value.Validating, func(w map[string]any) { w["failurePolicy"] = "Ignore" })
		}, nil},
		"passed under audit": {func(t *testing.T, o *doctor.Observation) {
			o.Probes[1].Reply, o.Probes[1].Audited = doctor.Silent, true
			failOpen(t, o)
		}, nil},
		"cannot be called": {func(_ *testing.T, o *doctor.Observation) {
			o.Probes[1].Reply, o.Probes[1].Text = doctor.Unreachable, "no endpoints available"
		}, []string{"failed called: " + istio + " could not be called: no endpoints available"}},
		"a dry run that is forbidden": {func(_ *testing.T, o *doctor.Observation) {
			o.Probes[1].Reply, o.Probes[1].Text = doctor.Foreign, "forbidden"
		}, []string{"unknown called: not examined: the dry run for " + istio + " was refused by something else: forbidden"}},

		"a right is missing": {func(_ *testing.T, o *doctor.Observation) {
			o.Rights.Value = append(o.Rights.Value, doctor.Right{Verb: "patch", Group: "apps", Resource: "deployments", Namespace: "a", Name: "b", Denied: true})
		}, []string{"failed rights: the ServiceAccount lacks 1 of 2 rights: patch deployments.apps b in a"}},
		"rights cannot be asked for": {func(_ *testing.T, o *doctor.Observation) { o.Rights.Err = gone }, []string{"unknown rights: not examined: forbidden"}},
		"another installation": {func(_ *testing.T, o *doctor.Observation) {
			o.Others.Value = []doctor.Other{{Object: "Deployment a/meshfence"}, {Object: "ValidatingWebhookConfiguration x", Service: "Service a/meshfence"}}
		}, []string{"failed other-installations: another installation: Deployment a/meshfence", "failed other-installations: another installation: ValidatingWebhookConfiguration x calls Service a/meshfence"}},

		"another CLUSTER_ID": {func(_ *testing.T, o *doctor.Observation) { o.Mesh.Value.Istiods[0].ClusterID = "other" }, []string{
			"failed cluster-id: CLUSTER_ID of istiod is other, and controlPlane.clusters of the FenceConfig is m1c1: holds keep traffic in a cluster of another name"}},
		"a revision that is not named": {func(_ *testing.T, o *doctor.Observation) { o.Mesh.Value.Istiods[0].Revision = "next" }, []string{
			"failed mesh-configmaps: istiod reads ConfigMap istio-next, which controlPlane.meshConfigMaps does not name: hold meshConfig holds nothing of its clients"}},
		"istiod elsewhere": {func(_ *testing.T, o *doctor.Observation) { o.Mesh.Value.Istiods = nil }, []string{
			"warning cluster-id: no Deployment in namespace istio-system has the label app=istiod: there is nothing to compare with",
			"warning mesh-configmaps: no Deployment in namespace istio-system has the label app=istiod: there is nothing to compare with",
			"warning istio: no Deployment in namespace istio-system has the label app=istiod: there is nothing to compare with"}},
		"what may run besides": {func(_ *testing.T, o *doctor.Observation) {
			o.Mesh.Value.Unseen, o.MeshConfigs.Err = []string{install.UnseenZtunnel}, gone
		}, []string{"unknown mesh-config-room: not examined: forbidden", "unknown istio: not examined: whether ztunnel runs: forbidden", "unknown istio: not examined: forbidden"}},
		"mesh ConfigMaps that are full, and not yet": {func(_ *testing.T, o *doctor.Observation) {
			o.MeshConfigs.Value = map[string]doctor.MeshConfig{"istio": {Full: 0.756}, "istio-next": {Full: 0.74}}
		}, []string{"warning mesh-config-room: 76 % of what mesh ConfigMap istio may hold is taken; when it is full, further strict Services are not held by meshConfig"}},
		"settings and an old release": {func(_ *testing.T, o *doctor.Observation) {
			o.Mesh.Value.Ambient, o.MeshConfigs.Value = true, map[string]doctor.MeshConfig{"istio": {Selects: true}, "other": {}}
			o.Mesh.Value.Istiods[0].Version = "1.20.3"
			o.Mesh.Value.Istiods[0].Env = map[string]string{"AMBIENT_ENABLE_MULTI_NETWORK": "true", "ENABLE_MCS_HOST": "false", "SHARED_MESH_CONFIG": "shared"}
		}, []string{
			"warning istio: istiod is of version 1.20.3, and meshfence is tested with " + meshfence.IstioVersion(),
			"warning istio: AMBIENT_ENABLE_MULTI_NETWORK of istiod is true: the scope of a Service (istio.io/global, serviceScopeConfigs) decides too which clusters' endpoints a client gets",
			"warning istio: SHARED_MESH_CONFIG of istiod is shared: serviceSettings there do not count any more once the standard ConfigMap has some (F2)",
			"warning istio: ztunnel runs here: no hold holds what it sends",
			"warning istio: discoverySelectors are set in ConfigMap istio: istiod does not see every namespace, and no hold rests on that (F11)"}},

		"holds that are not true": {func(_ *testing.T, o *doctor.Observation) {
			o.Fences.Value.Report.Holds = []audit.HoldReport{{Hold: "meshConfig", State: "broken", Reason: "no ConfigMap"}, {Hold: "locality", State: policy.HoldBehind, Reason: "soon"}}
		}, []string{"failed holds: hold meshConfig is broken: no ConfigMap", "warning holds: hold locality is behind: soon"}},
		"a strict Service that nothing holds, without endpoints": {func(_ *testing.T, o *doctor.Observation) {
			o.Fences.Value.Report.Services = []audit.FencedService{{Namespace: "shop", Name: "reviews", Fence: "strict", Lacks: []inject.Lack{{Message: "no hold"}}}, {Name: "a", Fence: "prefer"}}
		}, []string{"failed held: Service shop/reviews is strict, and nothing holds it: no hold",
			"warning endpoints: Service shop/reviews is strict and has no ready endpoint in this cluster: calls to it fail"}},
		"something that would be refused": {func(_ *testing.T, o *doctor.Observation) {
			o.Fences.Value.Report.Results = []audit.Result{{Key: object.Key{Kind: "ServiceEntry", Namespace: "a", Name: "b"},
				Verdict: leak.Verdict{Denied: []leak.Finding{{Rule: "r", Must: "not be", Path: []string{"spec"}}}, Warned: []leak.Finding{{}}}}}
		}, []string{"failed findings: ServiceEntry a/b: spec: must not be [r]"}},
		"five objects that Argo CD shows as OutOfSync": {func(_ *testing.T, o *doctor.Observation) {
			o.GitOps.Value = doctor.GitOps{Drifted: []string{"a", "b", "c", "d", "e"}, Judged: true}
		}, []string{"warning gitops: Argo CD shows as OutOfSync, for what admission adds: a, b, c, and 2 more"}},
		"one that it may": {func(_ *testing.T, o *doctor.Observation) {
			o.GitOps.Value.Drifted = []string{"a"}
		}, []string{"warning gitops: Argo CD, whose Applications are not seen here, shows as OutOfSync for what admission adds, unless it compares on the server or ignores it: a"}},
		"several rules and routes for one host": {func(t *testing.T, o *doctor.Observation) { o.Fences.Value.Index = duplicates(t) }, []string{
			"warning duplicates: 2 DestinationRules of namespace shop are for reviews.shop.svc.cluster.local: a, b: which settings count depends on their age",
			"warning duplicates: 2 VirtualServices of namespace client are for reviews.shop.svc.cluster.local: a, b: which settings count depends on their age"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := healthy(t)
			test.change(t, &o)
			var got []string
			for _, r := range doctor.Examine(o) {
				if r.Outcome != doctor.OK {
					got = append(got, string(r.Outcome)+" "+r.Check+": "+r.Seen)
				}
				if r.Outcome == doctor.Failed && r.Fix == "" {
					t.Errorf("%s: nothing says how to fix it", r.Seen)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
		})
	}
}

// duplicates has two rules and routes for one host, and one of each that do not count: for other clients, for gateways, for
// a host without a fence.
func duplicates(t *testing.T) *policy.Index {
	t.Helper()
	index := policy.NewIndex(parseConfig(t, "scope: {services: [{namespace: shop, name: reviews, fence: strict}]}"))
	index.SetService(hostname.Host{Namespace: "shop", Name: "reviews"}, nil)
	for _, text := range []string{
		`{"kind": "DestinationRule", "metadata": {"namespace": "shop", "name": "a"}, "spec": {"host": "reviews"}}`,
		`{"kind": "DestinationRule", "metadata": {"namespace": "shop", "name": "b"}, "spec": {"host": "reviews.shop.svc.cluster.local"}}`,
		`{"kind": "DestinationRule", "metadata": {"namespace": "shop", "name": "some"}, "spec": {"host": "reviews", "workloadSelector": {"matchLabels": {"a": "b"}}}}`,
		`{"kind": "DestinationRule", "metadata": {"namespace": "client", "name": "far"}, "spec": {"host": "reviews.shop.svc.cluster.local"}}`,
		`{"kind": "DestinationRule", "metadata": {"namespace": "shop", "name": "c"}, "spec": {"host": "ratings"}}`,
		`{"kind": "DestinationRule", "metadata": {"namespace": "shop", "name": "d"}, "spec": {"host": "ratings"}}`,
		`{"kind": "VirtualService", "metadata": {"namespace": "client", "name": "a"}, "spec": {"hosts": ["reviews.shop.svc.cluster.local"]}}`,
		`{"kind": "VirtualService", "metadata": {"namespace": "client", "name": "b"}, "spec": {"hosts": ["other", "reviews.shop.svc.cluster.local"]}}`,
		`{"kind": "VirtualService", "metadata": {"namespace": "client", "name": "gateway"}, "spec": {"hosts": ["reviews.shop.svc.cluster.local"], "gateways": ["front"]}}`,
		`{"kind": "VirtualService", "metadata": {"namespace": "shop", "name": "a"}, "spec": {"hosts": ["reviews"]}}`,
		`{"kind": "VirtualService", "metadata": {"namespace": "shop", "name": "reviews-meshfence", "labels": {"app.kubernetes.io/managed-by": "meshfence"}}, "spec": {"hosts": ["reviews"]}}`,
	} {
		kind := object.KindDestinationRule
		if text[10] == 'V' {
			kind = object.KindVirtualService
		}
		o, err := object.Decode(kind, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		index.SetObject(o)
	}
	return index
}

func TestWorst(t *testing.T) {
	t.Parallel()
	for want, outcomes := range map[doctor.Outcome][]doctor.Outcome{
		doctor.OK:      nil,
		doctor.Warning: {doctor.OK, doctor.Warning, doctor.OK},
		doctor.Unknown: {doctor.Unknown, doctor.Warning},
		doctor.Failed:  {doctor.Unknown, doctor.Failed, doctor.OK},
	} {
		var results []doctor.Result
		for _, o := range outcomes {
			results = append(results, doctor.Result{Outcome: o})
		}
		if got := doctor.Worst(results); got != want {
			t.Errorf("the worst of %v is %s, want %s", outcomes, got, want)
		}
	}
}
