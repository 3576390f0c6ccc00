package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/meshfence/meshfence/test/testbed"
)

// doctorMesh is what the install command looks for.
const doctorMesh = `
apiVersion: v1
kind: Namespace
metadata: {name: istio-system, labels: {topology.istio.io/network: net4}}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data: {mesh: "rootNamespace: istio-system"}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod, istio.io/rev: default}}
spec:
  replicas: 0
  selector: {matchLabels: {app: istiod}}
  template:
    metadata: {labels: {app: istiod}}
    spec:
      containers:
        - name: discovery
          image: istio/pilot:1.31.1
          args: [discovery, --domain, cluster.local]
          env: [{name: CLUSTER_ID, value: m1c4}, {name: REVISION, value: default}]
---
apiVersion: v1
kind: Secret
metadata: {name: istio-remote-secret-m1c5, namespace: istio-system, labels: {istio/multiCluster: "true"}, annotations: {networking.istio.io/cluster: m1c5}}
`

// doctorShop is a strict Service.
const doctorShop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
`

// Meshfence installs itself for the mesh that it finds, its doctor finds nothing wrong, and then each thing that is broken,
// as long as it is broken.
func TestDoctor(t *testing.T) {
	t.Parallel()                              // on a cluster of its own
	ctx := context.WithoutCancel(t.Context()) // namespaces are deleted when the test has ended
	cluster, err := testbed.Start(ctx, testbed.Options{Number: 4, Name: "m1c4"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	if err := cluster.Apply(ctx, doctorMesh); err != nil {
		t.Fatal(err)
	}
	installed, err := cluster.Install(ctx, testbed.Installation{Command: []string{}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(installed.Stop)
	s := &suite{Cluster: cluster, meshfence: installed}
	s.kubectl(t, doctorShop, "apply", "-f", "-")
	if err := cluster.CreatePod(ctx, "shop", "reviews", cluster.Host(1), map[string]string{"app": "reviews"}); err != nil {
		t.Fatal(err)
	}
	s.healthy(t)
	// What a user has changed must outlast every installation that follows.
	s.kubectl(t, "", "patch", "configmap", "meshfence", "-n", "meshfence-system", "--type=merge", "-p",
		fmt.Sprintf(`{"data": {"config.yaml": %q}}`, strings.Replace(s.fenceConfig(t), "namespaces: []", "namespaces: [{name: bank, fence: prefer}]", 1)))
	s.healthy(t)
	if code, out := s.run(t, "doctor", "--hosts"); code != 0 || !strings.Contains(out, "shop/reviews is strict (service annotation), ready here: 1, held by: meshConfig") {
		t.Errorf("exit code %d of\n%s", code, out)
	}
	for _, b := range s.breakages(t) {
		t.Run(b.name, func(t *testing.T) { s.examineBroken(t, b) })
	}
	t.Run("roll out", s.rollOut)
	t.Run("with the rights to view alone", s.viewing)
	if code, out := s.run(t, "doctor", "--context=m1c4", "--context=m1c4"); code != 1 || !strings.Contains(out, "the FenceConfigs of m1c4 and m1c4 name the same cluster: m1c4") {
		t.Errorf("exit code %d of a fleet of one cluster:\n%s", code, out)
	}
	if code, out := s.run(t, "install", "--apply", "--install-namespace=elsewhere"); code != 2 || !strings.Contains(out, "meshfence is installed in namespace meshfence-system") {
		t.Errorf("exit code %d of a second installation:\n%s", code, out)
	}
}

// fenceConfig returns the text of the FenceConfig.
func (s *suite) fenceConfig(t *testing.T) string {
	t.Helper()
	return s.kubectl(t, "", "get", "configmap", "meshfence", "-n", "meshfence-system", "-o", `jsonpath={.data.config\.yaml}`)
}

// doctorResult is a result of meshfence doctor -o json.
type doctorResult struct{ Check, Outcome, Seen, Fix string }

// examine returns the results that are not fine.
func (s *suite) examine(t *testing.T) (code int, bad []doctorResult) {
	t.Helper()
	code, out := s.run(t, "doctor", "-o", "json")
	var report struct{ Results []doctorResult }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, r := range report.Results {
		if r.Outcome != "ok" {
			bad = append(bad, r)
		}
	}
	if len(report.Results) == 0 {
		t.Fatal("nothing was examined")
	}
	return code, bad
}

// healthy waits until every check is fine.
func (s *suite) healthy(t *testing.T) {
	t.Helper()
	eventually(t, "all is fine", func(context.Context) error {
		if code, bad := s.examine(t); code != 0 || len(bad) > 0 {
			return fmt.Errorf("exit code %d, and %+v", code, bad)
		}
		return nil
	})
}

// breakage is one thing that is broken.
type breakage struct {
	name string
	// breaks and fixes change the cluster.
	breaks, fixes func(t *testing.T)
	// named are the checks that say so, with the outcome and a part of what they say.
	named []doctorResult
	code  int
}

// doctorSecond is what another installation leaves in the cluster, as far as it does not get in the way of this one.
const doctorSecond = `
apiVersion: v1
kind: Namespace
metadata: {name: fences-second}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: meshfence, namespace: fences-second, labels: {app.kubernetes.io/name: meshfence}}
spec:
  replicas: 0
  selector: {matchLabels: {app: second}}
  template:
    metadata: {labels: {app: second}}
    spec: {containers: [{name: meshfence, image: none}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: second}
webhooks:
  - name: istio.validate.meshfence.io
    clientConfig: {service: {namespace: fences-second, name: meshfence}}
    failurePolicy: Ignore
    sideEffects: None
    admissionReviewVersions: [v1]
`

// doctorRules are two DestinationRules for one host.
const doctorRules = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one, namespace: shop}
spec: {host: reviews}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: two, namespace: shop}
spec: {host: reviews.shop.svc.cluster.local}
`

func (s *suite) breakages(t *testing.T) []breakage {
	t.Helper()
	do := func(stdin string, args ...string) func(*testing.T) {
		return func(t *testing.T) { s.kubectl(t, stdin, args...) }
	}
	patch := func(patch string) func(*testing.T) {
		return do("", "patch", "validatingwebhookconfiguration", "meshfence", "--type=json", "-p", patch)
	}
	install := func(t *testing.T) {
		code, out := s.run(t, "install", "--apply")
		if code != 0 && strings.Contains(out, "which --force-conflicts takes") { // from the kubectl that broke it
			code, out = s.run(t, "install", "--apply", "--force-conflicts")
		}
		if code != 0 {
			t.Fatalf("exit code %d of install:\n%s", code, out)
		}
	}
	config := s.fenceConfig(t)
	unbind := do("", "delete", "clusterrolebinding", "meshfence")
	failed := func(check, seen string) doctorResult {
		return doctorResult{Check: check, Outcome: "failed", Seen: seen}
	}
	warned := func(check, seen string) doctorResult {
		return doctorResult{Check: check, Outcome: "warning", Seen: seen}
	}
	return []breakage{
		{"the caBundle is garbage, and nobody may repair it", func(t *testing.T) {
			unbind(t)
			patch(`[{"op": "replace", "path": "/webhooks/0/clientConfig/caBundle", "value": "Z2FyYmFnZQ=="}]`)(t)
		}, install, []doctorResult{
			failed("trusted", "holds no certificate: istio.validate.meshfence.io"), failed("called", "istio.validate.meshfence.io could not be called"),
			failed("rights", "the ServiceAccount lacks"),
		}, 1},
		{"a configuration is deleted", do("", "delete", "validatingwebhookconfiguration", "meshfence"), install, []doctorResult{
			failed("webhooks", "no ValidatingWebhookConfiguration meshfence"), failed("called", "istio.validate.meshfence.io should have"),
		}, 1},
		{"a webhook is called for its own namespace", patch(`[{"op": "replace", "path": "/webhooks/0/namespaceSelector", "value": {}}]`), install, []doctorResult{
			failed("webhooks", "namespaceSelector of webhook istio.validate.meshfence.io"), failed("excluded", "istio.validate.meshfence.io is called for namespace meshfence-system"),
		}, 1},
		{"a webhook fails open", patch(`[{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}]`), install, []doctorResult{
			warned("failure-policy", "an outage lets leaks in: istio.validate.meshfence.io"),
		}, 0},
		{"istiod has another CLUSTER_ID", do("", "set", "env", "deployment/istiod", "-n", "istio-system", "CLUSTER_ID=other"),
			do("", "set", "env", "deployment/istiod", "-n", "istio-system", "CLUSTER_ID=m1c4"),
			[]doctorResult{failed("cluster-id", "CLUSTER_ID of istiod is other, and controlPlane.clusters of the FenceConfig is m1c4")}, 1},
		{"istiod is of another release, with a setting", do("", "set", "env", "deployment/istiod", "-n", "istio-system", "ENABLE_MCS_HOST=true"),
			do("", "set", "env", "deployment/istiod", "-n", "istio-system", "ENABLE_MCS_HOST-"),
			[]doctorResult{warned("istio", "ENABLE_MCS_HOST of istiod is true")}, 0},
		{"a second installation", do(doctorSecond, "apply", "-f", "-"), do(doctorSecond, "delete", "-f", "-"), []doctorResult{
			failed("other-installations", "ValidatingWebhookConfiguration second calls Service fences-second/meshfence"),
			failed("other-installations", "Deployment fences-second/meshfence"),
		}, 1},
		{"the FenceConfig is deleted", do("", "delete", "configmap", "meshfence", "-n", "meshfence-system"), func(t *testing.T) {
			install(t)
			if s.fenceConfig(t) != config {
				t.Errorf("the FenceConfig that was put back is\n%s\nwant\n%s", s.fenceConfig(t), config)
			}
		},
			[]doctorResult{failed("fenceconfig", "the last good one is in force")}, 1},
		{"the mesh ConfigMap is deleted", do("", "delete", "configmap", "istio", "-n", "istio-system"), do(doctorMesh, "apply", "-f", "-"),
			[]doctorResult{failed("holds", "hold meshConfig is broken")}, 1},
		{"two rules for one host, and no endpoint", func(t *testing.T) {
			do(doctorRules, "apply", "-f", "-")(t)
			do("", "delete", "pod", "reviews", "-n", "shop")(t)
		}, func(t *testing.T) {
			do(doctorRules, "delete", "-f", "-")(t)
			if err := s.CreatePod(t.Context(), "shop", "reviews", s.Host(1), map[string]string{"app": "reviews"}); err != nil {
				t.Fatal(err)
			}
		}, []doctorResult{
			warned("duplicates", "2 DestinationRules of namespace shop are for reviews.shop.svc.cluster.local: one, two"),
			warned("endpoints", "Service shop/reviews is strict and has no ready endpoint"),
		}, 0},
		{"the Service is deleted", do("", "delete", "service", "meshfence", "-n", "meshfence-system"), install,
			[]doctorResult{failed("replicas", "there is no Service meshfence")}, 1},
		{"no replica", s.stopReplicas, s.startReplicas, []doctorResult{
			failed("replicas", "none of 2 replicas is ready"), failed("called", "istio.validate.meshfence.io could not be called"),
		}, 1},
	}
}

func (s *suite) stopReplicas(t *testing.T) {
	t.Helper()
	for i := range s.meshfence.Replicas() {
		if err := s.meshfence.StopReplica(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *suite) startReplicas(t *testing.T) {
	t.Helper()
	for i := range s.meshfence.Replicas() {
		// They outlast the part of the test that starts them.
		if err := s.meshfence.StartReplica(context.WithoutCancel(t.Context()), i); err != nil {
			t.Fatal(err)
		}
	}
}

// examineBroken breaks one thing, waits until the doctor names it, and fixes it.
func (s *suite) examineBroken(t *testing.T, b breakage) {
	b.breaks(t)
	eventually(t, "it is named", func(context.Context) error {
		code, bad := s.examine(t)
		for _, want := range b.named {
			if !slices.ContainsFunc(bad, func(r doctorResult) bool {
				return r.Check == want.Check && r.Outcome == want.Outcome && strings.Contains(r.Seen, want.Seen)
			}) {
				return fmt.Errorf("%+v is not among %+v", want, bad)
			}
		}
		if code != b.code {
			return fmt.Errorf("exit code %d, want %d", code, b.code)
		}
		return nil
	})
	b.fixes(t)
	s.healthy(t)
}

// doctorClaim claims a strict host.
const doctorClaim = `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: claim, namespace: shop}
spec: {hosts: [reviews.shop.svc.cluster.local], resolution: DNS, ports: [{number: 9080, name: http, protocol: HTTP}]}
`

// rollOut goes from audit over warn to enforce. Before enforce nothing is refused, nor in an outage.
func (s *suite) rollOut(t *testing.T) {
	claim := func() (string, error) {
		_, stderr, err := s.Kubectl(t.Context(), doctorClaim, "create", "--dry-run=server", "-f", "-")
		return stderr, err
	}
	for _, step := range []struct {
		enforcement string
		says        string
		refused     bool
	}{{"audit", "", false}, {"warn", "Warning: spec.hosts[0]: must not cover a strict host", false}, {"enforce", "must not cover a strict host", true}} {
		if code, out := s.run(t, "install", "--apply", "--force-conflicts", "--enforcement="+step.enforcement); code != 0 {
			t.Fatalf("exit code %d of install:\n%s", code, out)
		}
		eventually(t, step.enforcement+" is in force", func(context.Context) error {
			said, err := claim()
			if (err != nil) != step.refused || !strings.Contains(said, step.says) {
				return fmt.Errorf("a ServiceEntry is refused: %t, %s", err != nil, said)
			}
			return nil
		})
		s.healthy(t)
		s.stopReplicas(t)
		eventually(t, "no replica answers", func(context.Context) error {
			said, err := claim()
			if (err != nil) != step.refused || !strings.Contains(said, "failed calling webhook") == step.refused || strings.Contains(said, "must not cover") {
				return fmt.Errorf("under %s, a ServiceEntry is refused: %t, %s", step.enforcement, err != nil, said)
			}
			return nil
		})
		s.startReplicas(t)
	}
	s.healthy(t)
}

// viewing has a user examine the cluster who may view most of it, and create nothing.
func (s *suite) viewing(t *testing.T) {
	s.kubectl(t, "", "create", "clusterrolebinding", "viewer", "--clusterrole=view", "--user=viewer")
	config, err := clientcmd.LoadFromFile(s.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		user.Impersonate = "viewer"
	}
	viewer := *s.Cluster
	viewer.Kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, viewer.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	code, bad := (&suite{Cluster: &viewer}).examine(t)
	var unseen []string
	for _, r := range bad {
		if r.Outcome != "unknown" || !strings.Contains(strings.ToLower(r.Seen), "forbidden") {
			t.Errorf("%+v", r)
		}
		unseen = append(unseen, r.Check)
	}
	if code != 2 || !slices.Contains(unseen, "called") || !slices.Contains(unseen, "rights") || !slices.Contains(unseen, "webhooks") {
		t.Errorf("exit code %d, not examined: %v", code, unseen)
	}
}

// argoApp is what Argo CD has applied, by kubectl's own code: a rule that gets a subset more, and one that gets keys alone.
const argoApp = `
apiVersion: v1
kind: Service
metadata: {name: reviews, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, annotations: {argocd.argoproj.io/tracking-id: "shop:networking.istio.io/DestinationRule:shop/reviews"}}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, annotations: {argocd.argoproj.io/tracking-id: "shop:networking.istio.io/DestinationRule:shop/ratings"}}
spec: {host: ratings, trafficPolicy: {connectionPool: {tcp: {maxConnections: 100}}}}
`

// The doctor names what Argo CD would show as OutOfSync, and not what it leaves alone.
func TestDoctorSeesDrift(t *testing.T) {
	s := shared(t)
	s.configure(t, defaultConfig)
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, argoApp, "apply", "-n", namespace, "-f", "-")
	_, bad := s.examine(t)
	var seen []string
	for _, r := range bad {
		if r.Check == "gitops" {
			seen = append(seen, r.Seen)
		}
	}
	if len(seen) != 1 || !strings.HasSuffix(seen[0], ": DestinationRule "+namespace+"/reviews (spec.subsets)") {
		t.Errorf("the doctor says %q", seen)
	}
}
