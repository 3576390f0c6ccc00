package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/test/testbed"
)

// auditScene is a ServiceEntry that exists before the Service that it claims is fenced, and a harmless one.
const auditScene = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: claims}
spec:
  hosts: [reviews.NAMESPACE.svc.cluster.local]
  resolution: DNS
  ports: [{number: 9080, name: http, protocol: HTTP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: elsewhere}
spec:
  hosts: [elsewhere.example.com]
  resolution: DNS
  ports: [{number: 9080, name: http, protocol: HTTP}]
`

// A leak that existed before its Service was fenced is a warning of that change, an Event and a metric within seconds,
// and a row of meshfence audit and explain; and nothing of it is left when it is gone.
func TestAudit(t *testing.T) {
	s := shared(t)
	s.configure(t, strings.Replace(defaultConfig, "[subset]", "[meshConfig]", 1))
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, strings.ReplaceAll(auditScene, "NAMESPACE", namespace), "apply", "-n", namespace, "-f", "-")
	series := `meshfence_existing_findings{outcome="denied",rule="serviceentry-fenced-host"}`
	if _, out := s.run(t, "audit"); strings.Contains(out, namespace+"/") {
		t.Errorf("before the fence:\n%s", out)
	}
	before := s.leading(t, series) // other tests may have left something
	eventually(t, "the ServiceEntry is in the index of every replica", func(ctx context.Context) error {
		_, stderr, err := s.Kubectl(ctx, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence=strict", "--overwrite", "--dry-run=server")
		if err == nil && !strings.Contains(stderr, "ServiceEntry "+namespace+"/claims: spec.hosts[0]: must not cover a strict host") {
			err = fmt.Errorf("no warning in %q", stderr)
		}
		return err
	})
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence=strict")
	eventually(t, "the leak is told", func(ctx context.Context) error {
		events, _, err := s.Kubectl(ctx, "", "get", "events", "-n", namespace, "-o", "jsonpath={.items[*].reason} {.items[*].involvedObject.name} {.items[*].message}")
		if err == nil && (!strings.Contains(events, "Leak") || !strings.Contains(events, "claims") || !strings.Contains(events, "serviceentry-fenced-host")) {
			err = fmt.Errorf("no Event in %q", events)
		}
		if n := s.leading(t, series); err == nil && n != before+1 {
			err = fmt.Errorf("%s is %v, want one more than %v", series, n, before)
		}
		return err
	})
	code, out := s.run(t, "audit", "-o", "json")
	var report struct {
		Services []struct {
			Namespace, Name, Fence string
			Ready                  int
		}
		Leaks []struct{ Outcome, Rule, Namespace, Name string }
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	var found []string
	for _, service := range report.Services {
		if service.Namespace == namespace {
			found = append(found, fmt.Sprintf("%s is %s with %d ready", service.Name, service.Fence, service.Ready))
		}
	}
	for _, leak := range report.Leaks {
		if leak.Namespace == namespace {
			found = append(found, fmt.Sprintf("%s %s by %s", leak.Name, leak.Outcome, leak.Rule))
		}
	}
	want := []string{"reviews is strict with 0 ready", "claims denied by serviceentry-fenced-host"}
	if diff := cmp.Diff(want, found); code != 1 || diff != "" {
		t.Errorf("exit code %d, report (-want +got):\n%s", code, diff)
	}
	if code, out := s.run(t, "explain", namespace+"/reviews"); code != 0 ||
		!strings.Contains(out, "strict (service annotation)") || !strings.Contains(out, "ServiceEntry "+namespace+"/claims: spec.hosts[0]") {
		t.Errorf("exit code %d of\n%s", code, out)
	}
	s.kubectl(t, "", "delete", "serviceentry", "claims", "-n", namespace)
	eventually(t, "the leak is over", func(context.Context) error {
		if n := s.leading(t, series); n != before {
			return fmt.Errorf("%s is %v, want %v", series, n, before)
		}
		return nil
	})
	if _, out := s.run(t, "audit"); strings.Contains(out, namespace+"/claims") || !strings.Contains(out, "(calls fail)") {
		t.Errorf("after the leak is over:\n%s", out)
	}
}

// leading sums a series over the replicas, of which one audits.
func (s *suite) leading(t *testing.T, series string) float64 {
	t.Helper()
	sum := 0.0
	for i := range s.meshfence.Replicas() {
		sum += s.metric(t, i, series)
	}
	return sum
}

// run runs a command of meshfence against the cluster and returns its exit code and what it printed.
func (s *suite) run(t *testing.T, arguments ...string) (int, string) {
	t.Helper()
	path, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), path, append(arguments, "--kubeconfig="+s.Kubeconfig)...)
	out, err := command.CombinedOutput()
	if command.ProcessState == nil {
		t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), string(out)
}

// An exemption lets one object through, is counted as such by the audit too, and is spoken of before it ends.
func TestExemption(t *testing.T) {
	s := shared(t)
	namespace := s.CreateNamespace(t, nil)
	until := time.Now().Add(3 * 24 * time.Hour).UTC().Format(time.DateOnly)
	s.configure(t, defaultConfig+fmt.Sprintf("exemptions: [{rule: serviceentry-fenced-host, namespace: %s, name: claims, until: %s, reason: moving}]\n", namespace, until))
	services, entries, _ := strings.Cut(strings.ReplaceAll(auditScene, "NAMESPACE", namespace), "---")
	s.kubectl(t, services, "apply", "-n", namespace, "-f", "-")
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence=strict")
	eventually(t, "the exempted object passes with a warning", func(ctx context.Context) error {
		_, stderr, err := s.Kubectl(ctx, entries, "create", "-n", namespace, "-f", "-", "--dry-run=server")
		if err == nil && !strings.Contains(stderr, "accepted by an exemption until "+until) {
			err = fmt.Errorf("no warning in %q", stderr)
		}
		return err
	})
	s.kubectl(t, entries, "create", "-n", namespace, "-f", "-")
	eventually(t, "the audit counts it, and says that it ends", func(ctx context.Context) error {
		events, _, err := s.Kubectl(ctx, "", "get", "events", "-A", "-o", "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}")
		if err == nil && !strings.Contains(events, "ExemptionEnds the exemption of "+namespace+"/claims from serviceentry-fenced-host ends after "+until) {
			err = errors.New("no Event")
		}
		if _, out := s.run(t, "audit"); err == nil && !strings.Contains(out, "exempted: ServiceEntry "+namespace+"/claims") {
			err = errors.New(out)
		}
		return err
	})
}
