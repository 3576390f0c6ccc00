package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Without a webhook nothing leaks and nothing unrelated stops (docs/design.md says which kinds).
func TestWebhookStopped(t *testing.T) {
	s := shared(t)
	open := s.CreateNamespace(t, nil)
	labelled := s.strictNamespace(t)
	for i := range s.meshfence.Replicas() {
		s.meshfence.KillReplica(i)
	}
	// The replicas outlive the test.
	t.Cleanup(func() {
		for i := range s.meshfence.Replicas() {
			if err := s.meshfence.StartReplica(context.Background(), i); err != nil {
				t.Error(err)
			}
		}
		if err := s.meshfence.WaitServing(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for name, test := range map[string]struct{ namespace, manifest string }{
		"a Service without the label":  {open, fmt.Sprintf(service, "")},
		"a ConfigMap with the label":   {labelled, "{apiVersion: v1, kind: ConfigMap, metadata: {name: any}}"},
		"a Deployment with the label":  {labelled, deployment},
		"a Gateway, which is no route": {labelled, "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: any}, spec: {servers: []}}"},
	} {
		t.Run(name+" passes", func(t *testing.T) {
			s.kubectl(t, test.manifest, "create", "-n", test.namespace, "-f", "-")
		})
	}
	t.Run("the FenceConfig passes", func(t *testing.T) {
		s.kubectl(t, "", "annotate", "configmap", "meshfence", "-n", "meshfence-system", "touched=again")
	})
	for name, test := range map[string]struct{ namespace, manifest string }{
		"a DestinationRule":        {open, fmt.Sprintf(rule, "v1", "other", open, "other")},
		"a VirtualService":         {open, "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: any}, spec: {hosts: [any.example.com], http: [{route: [{destination: {host: any.example.com}}]}]}}"},
		"a ServiceEntry":           {open, "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: any}, spec: {hosts: [any.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}}"},
		"a Service with the label": {labelled, strings.Replace(fmt.Sprintf(service, ""), "reviews", "another", 1)},
	} {
		t.Run(name+" is refused", func(t *testing.T) {
			if message := s.refused(t, test.manifest, "create", "-n", test.namespace, "-f", "-"); !strings.Contains(message, "failed calling webhook") {
				t.Errorf("refused by another than the missing webhook: %s", message)
			}
		})
	}
	t.Run("switched off by one command, a DestinationRule passes", func(t *testing.T) {
		s.switchOff(t)
		eventually(t, "it passes", func(ctx context.Context) error {
			_, _, err := s.Kubectl(ctx, fmt.Sprintf(rule, "v1", "other", open, "other"), "create", "-n", open, "-f", "-")
			return err
		})
	})
}

// switchOff runs the command by which docs/operations.md switches meshfence off in an emergency. What that deletes is back when
// the test has ended.
func (s *suite) switchOff(t *testing.T) {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## The API server is blocked\n")
	_, command, found := strings.Cut(section, "\n    kubectl ")
	if !found {
		t.Fatal("docs/operations.md has no command to switch meshfence off")
	}
	command, _, _ = strings.Cut(command, "\n")
	restore := s.kubectl(t, "", "get", "mutatingwebhookconfigurations,validatingwebhookconfigurations", "-o", "json", "-l", "app.kubernetes.io/name=meshfence")
	t.Cleanup(func() {
		if _, _, err := s.Kubectl(context.Background(), restore, "create", "-f", "-"); err != nil {
			t.Error(err)
		}
	})
	s.kubectl(t, "", strings.Fields(command)...)
}

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: any}
spec:
  replicas: 0
  selector: {matchLabels: {app: any}}
  template: {metadata: {labels: {app: any}}, spec: {containers: [{name: any, image: none}]}}
`

// A rollout replaces one replica after another; no request may notice.
func TestRollout(t *testing.T) {
	s := shared(t)
	namespace := s.strictNamespace(t)
	done := make(chan struct{})
	result := make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-done:
				result <- nil
				return
			default:
			}
			manifest := fmt.Sprintf(rule, "v1", fmt.Sprintf("rule-%d", i%10), namespace, "reviews")
			if err := s.Apply(t.Context(), manifest); err != nil {
				result <- err
				return
			}
		}
	}()
	for i := range s.meshfence.Replicas() {
		if err := s.meshfence.StopReplica(t.Context(), i); err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
		if err := s.meshfence.StartReplica(context.Background(), i); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	if err := <-result; err != nil {
		t.Errorf("during the rollout: %v", err)
	}
}

// What got past admission while no replica ran, because its kind fails open, is found as soon as one runs again, and told
// of as such.
func TestOutageIsTold(t *testing.T) {
	s := shared(t)
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, twoServices, "apply", "-n", namespace, "-f", "-")
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence=strict")
	for i := range s.meshfence.Replicas() {
		s.meshfence.KillReplica(i)
	}
	const slice = `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: foreign, labels: {kubernetes.io/service-name: reviews}},
addressType: IPv4, endpoints: [{addresses: [10.9.9.9]}], ports: [{name: http, port: 9080}]}`
	s.kubectl(t, slice, "create", "-n", namespace, "-f", "-")
	time.Sleep(12 * time.Second) // more than a leader takes to renew its lease
	for i := range s.meshfence.Replicas() {
		if err := s.meshfence.StartReplica(context.Background(), i); err != nil { // it outlives the test
			t.Fatal(err)
		}
	}
	if err := s.meshfence.WaitServing(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is told", func(context.Context) error {
		events := s.events(t, namespace)
		for _, e := range events {
			if e.Reason == "Leak" && e.Regarding.Name == "foreign" && strings.Contains(e.Note, "while no replica of meshfence ran, between ") {
				return nil
			}
		}
		return fmt.Errorf("Events %v", events)
	})
}
