package apiserver_test

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

// withPeers has Gatekeeper and Kyverno, which are built first, stand in the way of a write as well.
var withPeers = flag.Bool("peers", false, "measure Gatekeeper and Kyverno beside meshfence (a first build takes half an hour)")

// The tools of the peers.
const (
	toolGatekeeper     = "gatekeeper"
	toolGatekeeperCRDs = "gatekeeper-crds"
	toolKyverno        = "kyverno"
	toolKyvernoAll     = "kyverno-manifests"
)

func peerTools() []string {
	return []string{toolGatekeeper, toolGatekeeperCRDs, toolKyverno, toolKyvernoAll}
}

// gatekeeperTemplate, with the Pod that owns what Gatekeeper writes, and gatekeeperConstraint say in Gatekeeper's words, and kyvernoPolicy in Kyverno's, what the policy in
// CEL says: a subset must not lead into another cluster.
const (
	gatekeeperTemplate = `
apiVersion: v1
kind: Namespace
metadata: {name: gatekeeper-system}
---
apiVersion: v1
kind: Pod
metadata: {name: gatekeeper, namespace: gatekeeper-system}
spec: {containers: [{name: gatekeeper, image: gatekeeper}]}
---
apiVersion: v1
kind: Namespace
metadata: {name: peer}
---
apiVersion: templates.gatekeeper.sh/v1
kind: ConstraintTemplate
metadata: {name: localsubsets}
spec:
  crd: {spec: {names: {kind: LocalSubsets}}}
  targets:
  - target: admission.k8s.gatekeeper.sh
    rego: |
      package localsubsets
      violation[{"msg": msg}] {
        cluster := input.review.object.spec.subsets[_].labels["topology.istio.io/cluster"]
        cluster != "m1c1"
        msg := sprintf("a subset of cluster %v", [cluster])
      }
`
	gatekeeperConstraint = `
apiVersion: constraints.gatekeeper.sh/v1beta1
kind: LocalSubsets
metadata: {name: local}
spec: {match: {kinds: [{apiGroups: [networking.istio.io], kinds: [DestinationRule]}]}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: gatekeeper-validating-webhook-configuration}
webhooks:
- name: validation.gatekeeper.sh
  clientConfig: {url: "https://%s/v1/admit", caBundle: %s}
  rules: [{apiGroups: [networking.istio.io], apiVersions: ["*"], operations: [CREATE, UPDATE], resources: ["*"]}]
  sideEffects: None
  admissionReviewVersions: [v1]
`
	kyvernoPolicy = `
apiVersion: v1
kind: Namespace
metadata: {name: peer}
---
apiVersion: kyverno.io/v1
kind: ClusterPolicy
metadata: {name: local}
spec:
  background: false
  rules:
  - name: local
    match: {any: [{resources: {kinds: [networking.istio.io/*/DestinationRule]}}]}
    validate:
      failureAction: Enforce
      message: a subset of another cluster
      foreach:
      - list: "request.object.spec.subsets || ` + "`[]`" + `"
        deny:
          conditions:
            all: [{key: "{{ element.labels.\"topology.istio.io/cluster\" || 'm1c1' }}", operator: NotEquals, value: m1c1}]
`
)

// startPeers starts a cluster for each peer, with its program as cluster administrator beside it.
func startPeers(t *testing.T) []way {
	t.Helper()
	var ways []way
	for number, peer := range []struct {
		name  string
		start func(context.Context, *testbed.Cluster, string) (*testbed.Process, error)
	}{{"gatekeeper", startGatekeeper}, {"kyverno", startKyverno}} {
		c, err := testbed.Start(t.Context(), testbed.Options{Number: 3 + number, Name: peer.name})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Stop)
		process, err := peer.start(t.Context(), c, netip.AddrPortFrom(c.Address, 9443).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(process.Log(50))
			}
			process.Stop(time.Second)
		})
		ways = append(ways, way{peer.name, "peer", dynamicClient(t, c), []testbed.Consumer{c, process}, true})
	}
	return ways
}

// startGatekeeper starts the part of Gatekeeper that answers webhooks, with a constraint.
func startGatekeeper(ctx context.Context, c *testbed.Cluster, address string) (*testbed.Process, error) {
	crds, err := testbed.Tool(toolGatekeeperCRDs)
	if err != nil {
		return nil, err
	}
	if _, _, err := c.Kubectl(ctx, "", "apply", "--server-side", "-f", crds); err != nil {
		return nil, err
	}
	if err := testbed.Eventually(ctx, time.Minute, func(ctx context.Context) error { return c.Apply(ctx, gatekeeperTemplate) }); err != nil {
		return nil, err
	}
	path, err := testbed.Tool(toolGatekeeper)
	if err != nil {
		return nil, err
	}
	dir, bundle, err := writeCertificates(c, toolGatekeeper)
	if err != nil {
		return nil, err
	}
	health := netip.AddrPortFrom(c.Address, 9090).String()
	process, err := testbed.StartProcess(ctx, testbed.Command{
		Name: toolGatekeeper, Path: path, Dir: dir, Env: []string{"POD_NAMESPACE=gatekeeper-system", "POD_NAME=gatekeeper", "KUBECONFIG=" + c.Kubeconfig},
		Args: []string{
			"--host=" + c.Address.String(), "--port=9443", "--cert-dir=" + dir, "--disable-cert-rotation",
			"--operation=webhook", "--operation=generate", "--health-addr=" + health, "--log-level=WARNING",
		},
		Ready: answers("http://" + health + "/readyz"),
	})
	if err != nil {
		return nil, err
	}
	constraint := fmt.Sprintf(gatekeeperConstraint, address, base64.StdEncoding.EncodeToString(bundle))
	return process, testbed.Eventually(ctx, time.Minute, func(ctx context.Context) error { return c.Apply(ctx, constraint) })
}

// startKyverno starts Kyverno's admission controller with the flags of its own manifests, and a policy. It makes its
// certificate and its webhook configurations itself.
func startKyverno(ctx context.Context, c *testbed.Cluster, address string) (*testbed.Process, error) {
	manifests, err := testbed.Tool(toolKyvernoAll)
	if err != nil {
		return nil, err
	}
	apply := func(ctx context.Context) error {
		_, _, err := c.Kubectl(ctx, "", "apply", "--server-side", "-f", manifests)
		return err
	}
	if err := testbed.Eventually(ctx, time.Minute, apply); err != nil {
		return nil, err
	}
	path, err := testbed.Tool(toolKyverno)
	if err != nil {
		return nil, err
	}
	dir, err := testbed.StateDir(toolKyverno)
	if err != nil {
		return nil, err
	}
	process, err := testbed.StartProcess(ctx, testbed.Command{
		Name: toolKyverno, Path: path, Dir: dir,
		Env: []string{
			"INIT_CONFIG=kyverno", "METRICS_CONFIG=kyverno-metrics", "KYVERNO_NAMESPACE=kyverno", "KYVERNO_POD_NAME=kyverno", "KYVERNO_SVC=kyverno-svc",
			"KYVERNO_SERVICEACCOUNT_NAME=kyverno-admission-controller", "KYVERNO_ROLE_NAME=kyverno:admission-controller",
			"KYVERNO_DEPLOYMENT=kyverno-admission-controller", "TUF_ROOT=" + dir,
		},
		Args: []string{
			"--kubeconfig=" + c.Kubeconfig, "--serverIP=" + address, "--webhookServerHost=" + c.Address.String(), "--webhookServerPort=9443",
			"--caSecretName=kyverno-svc.kyverno.svc.kyverno-tls-ca", "--tlsSecretName=kyverno-svc.kyverno.svc.kyverno-tls-pair",
			"--backgroundServiceAccountName=system:serviceaccount:kyverno:kyverno-background-controller",
			"--reportsServiceAccountName=system:serviceaccount:kyverno:kyverno-reports-controller",
			"--disableMetrics=true", "--controllerRuntimeMetricsAddress=0", "--omitEvents=PolicyApplied,PolicySkipped", "--v=2",
		},
		Ready: answers("https://" + address + "/health/readiness"),
	})
	if err != nil {
		return nil, err
	}
	return process, testbed.Eventually(ctx, time.Minute, func(ctx context.Context) error { return c.Apply(ctx, kyvernoPolicy) })
}

// answers returns what asks an address until it says that all is well.
func answers(url string) func(context.Context) error {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: anyServer()}}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("GET %s: %s", url, response.Status)
		}
		return nil
	}
}
