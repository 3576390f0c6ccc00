package traffic_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// patience is how long what meshfence says of a change may take on a busy machine.
const patience = 30 * time.Second

// truths show on the wire what a hold does where it cannot do what its name says, and that meshfence says so. They set
// the holds that they need.
func truths() map[string]func(*testing.T, *world) {
	return map[string]func(*testing.T, *world){
		"A3, locality and what has none":         withoutLocality,
		"A4, a rule that cannot get its subset":  withoutSubset,
		"A5, prefer beside a foreign distribute": ledAway,
		"A6, a route that a fence empties":       emptiedRoute,
		"A8, a rule that goes under load":        ruleDeleted,
	}
}

// handWritten has an endpoint that no Pod gives a locality.
const handWritten = `
apiVersion: v1
kind: Service
metadata: {name: %[1]s}
spec: {ports: [{name: grpc, port: 9080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-1, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: grpc, port: 9080}]
endpoints: [{addresses: [%[2]s], conditions: {ready: true}}]
`

// withoutLocality makes everything strict under hold locality. The API server's own Service, of which every operator in
// the mesh is a client, keeps its endpoint, which has no locality. Another one without a selector loses its endpoint, and
// audit says so.
func withoutLocality(t *testing.T, w *world) {
	h := holds{"locality"}
	w.configure(t, h, "none")
	s := w.newShop(t, "reviews", "machine")
	first := w.Clusters[0]
	server := s.servers[first.Name]["machine"] // which goes on without the Pod
	if _, _, err := first.Kubectl(t.Context(), "", "delete", "pod", server.Pod(), "-n", s.namespace, "--force", "--grace-period=0"); err != nil {
		t.Fatal(err)
	}
	apply(t, first, "default", strings.NewReplacer("NAME", "kubernetes", "ADDRESS", first.Host(1).String()).Replace(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: NAME, labels: {kubernetes.io/service-name: NAME}}
addressType: IPv4
ports: [{name: https, port: 6443, protocol: TCP}]
endpoints: [{addresses: [ADDRESS], conditions: {ready: true}}]
`))
	apply(t, first, s.namespace, fmt.Sprintf(handWritten, "legacy", server.Address()))
	s.answers(t, first, s.clients, s.request("legacy"), first.Name)
	api := func(want xds.Result) {
		t.Helper()
		s.says(t, first, "kubernetes.default.svc.cluster.local", policy.Strict, want)
	}
	api(xds.Held)
	w.configure(t, h, "strict")
	s.atHome(t, policy.Strict)
	api(xds.Held)
	s.answers(t, first, s.clients, s.request("legacy"), "Unavailable")
	s.says(t, first, s.host("legacy"), policy.Strict, xds.Empty)
	s.tells(t, first, 1, "Service "+s.namespace+"/legacy: spec.selector: must be set, because hold locality keeps out endpoints that no Pod gives a locality")
	w.configure(t, h, "none")
	s.everywhere(t, "reviews")
}

// stubborn keeps DestinationRules with a label as they are.
const stubborn = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: stubborn}
spec:
  failurePolicy: Fail
  matchConstraints:
    resourceRules:
    - {apiGroups: [networking.istio.io], apiVersions: ["*"], resources: [destinationrules], operations: [UPDATE]}
  validations: [{expression: "!('stubborn' in object.metadata.?labels.orValue({}))", message: nobody writes to this object}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: stubborn}
spec: {policyName: stubborn, validationActions: [Deny]}
`

// withoutSubset fences a Service under hold subset whose rule nobody may write to, so that it does not get the reserved
// subset. A route to that would fail every call, for ever: there is none, calls go on as before, and audit reports whether
// nothing holds the Service. When the rule has its subset, it is held. No call fails in all that time.
func withoutSubset(t *testing.T, w *world) {
	w.configure(t, holds{"subset"}, "none")
	s := w.newShop(t, "reviews")
	const rule = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: mine, labels: {stubborn: ''}}, spec: {host: reviews}}"
	for _, c := range w.Primaries() {
		apply(t, c, s.namespace, rule)
		apply(t, c, "", stubborn)
		t.Cleanup(func() {
			// The context of the test has ended by now.
			if _, _, err := c.Kubectl(context.Background(), stubborn, "delete", "-f", "-"); err != nil {
				t.Error(err)
			}
		})
		err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
			if _, _, err := c.Kubectl(ctx, "", "annotate", "destinationrule", "mine", "-n", s.namespace, "any=thing", "--overwrite"); err == nil {
				return errors.New("the write was not refused")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.everywhere(t, "reviews")
	l := s.load(t, "reviews")
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=strict")
	for _, c := range w.Primaries() {
		s.tells(t, c, 1, "not held: Service "+s.namespace+"/reviews: DestinationRule "+s.namespace+"/mine")
	}
	for c, counts := range l.steady(t) {
		if len(counts) != 2 {
			t.Errorf("with a rule that lacks the subset, calls from %s went to %v", c.Name, counts)
		}
	}
	w.kubectl(t, "label", "destinationrule", "mine", "-n", s.namespace, "stubborn-")
	s.atHome(t, policy.Strict)
	l.stop(t)
}

// ledAway prefers a Service whose rule sends the clients of a cluster to the other one. The rule is a user's and stays:
// calls leave while the local Pod is ready, verify says that they go elsewhere, and audit why. Without the rule the fence
// does what it says.
func ledAway(t *testing.T, w *world) {
	w.configure(t, holds{"locality"}, "none")
	s := w.newShop(t, "reviews")
	first, second := w.Clusters[0], w.Clusters[1]
	away := strings.NewReplacer("HERE", w.locality(first.Name), "THERE", w.locality(second.Name)).Replace(
		"{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: away}, spec: {host: reviews, trafficPolicy: " +
			`{loadBalancer: {localityLbSetting: {distribute: [{from: "HERE", to: {"THERE": 100}}]}}}}}`)
	apply(t, first, s.namespace, away)
	s.answers(t, first, s.clients, s.request("reviews"), second.Name)
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=prefer")
	s.tells(t, first, -1, "DestinationRule "+s.namespace+"/away: spec.trafficPolicy.loadBalancer.localityLbSetting.distribute: must")
	s.decided(t, "reviews", first, policy.Prefer, xds.Elsewhere, second.Name)
	if _, _, err := first.Kubectl(t.Context(), "", "delete", "destinationrule", "away", "-n", s.namespace); err != nil {
		t.Fatal(err)
	}
	s.atHome(t, policy.Prefer)
}

// emptiedRoute fences a Service of which one route leads to the Pods of the other cluster alone. Its calls fail, those of
// the other route do not leave, and audit and verify say which route has no endpoint left.
func emptiedRoute(t *testing.T, w *world) {
	w.configure(t, holds{"meshConfig"}, "none")
	s := w.newShop(t, "reviews")
	first, second := w.Clusters[0], w.Clusters[1]
	apply(t, first, s.namespace, strings.ReplaceAll(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: by-cluster}
spec: {host: reviews, subsets: [{name: there, labels: {topology.istio.io/cluster: THERE}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by-cluster}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /there}}]
    route: [{destination: {host: reviews, subset: there}}]
  - route: [{destination: {host: reviews}}]
`, "THERE", second.Name))
	there := s.request("reviews")
	there.Path = "/there"
	s.answers(t, first, s.clients, there, second.Name)
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence=strict")
	s.answers(t, first, s.clients, there, "Unavailable")
	s.atHome(t, policy.Strict)
	note := "outbound|9080|there|" + s.host("reviews") + ", which has no endpoint: calls fail"
	sidecar := xds.Proxy{Kind: xds.Sidecar, Namespace: s.callers, Cluster: first.Name, Locality: s.localities[first.Name]}
	report, err := s.report(t.Context(), s.host("reviews"), sidecar, policy.Strict)
	if err != nil || !strings.Contains(strings.Join(report.Notes, "\n"), note) {
		t.Errorf("verify: %v, notes %q, want %q", err, report.Notes, note)
	}
	s.tells(t, first, -1, "VirtualService "+s.namespace+"/by-cluster: spec.http[0].route[0].destination.subset: must")
	w.kubectl(t, "annotate", "service", "reviews", "-n", s.namespace, "meshfence.io/fence-")
	s.answers(t, first, s.clients, there, second.Name)
}

// says waits until verify gives a result for a host, as a sidecar of a cluster.
func (s *shop) says(t *testing.T, from *testbed.Cluster, fqdn string, fence policy.Fence, want xds.Result) {
	t.Helper()
	proxy := xds.Proxy{Kind: xds.Sidecar, Namespace: s.callers, Cluster: from.Name, Locality: s.localities[from.Name]}
	err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		return s.verifyHost(ctx, fqdn, proxy, fence, want)
	})
	if err != nil {
		t.Fatalf("verify of %s in %s: %v", fqdn, from.Name, err)
	}
}

// tells waits until the audit of a cluster has a line, and ends with an exit code, unless that is negative.
func (s *shop) tells(t *testing.T, c *testbed.Cluster, code int, line string) {
	t.Helper()
	path, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		t.Fatal(err)
	}
	err = testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
		command := exec.CommandContext(ctx, path, "audit", "--kubeconfig="+c.Kubeconfig)
		out, err := command.CombinedOutput()
		if command.ProcessState == nil {
			return err
		}
		if got := command.ProcessState.ExitCode(); !strings.Contains(string(out), line) || code >= 0 && got != code {
			return fmt.Errorf("audit of %s: exit code %d, without %q\n%s", c.Name, got, line, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
