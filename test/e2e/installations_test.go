package e2e_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/test/testbed"
)

// restFor is how long nothing may be written once two installations have found who has the cluster. Those that do not
// yield to each other write several times a second.
const restFor = 5 * time.Second

// Two installations stand in one cluster, for clusters of other names, so that each wants other companions. Whoever the
// webhook configurations call has it; the other leaves them and the companions alone, says why, and takes its turn when
// it is called.
func TestTwoInstallations(t *testing.T) {
	t.Parallel()                              // on a cluster of its own
	ctx := context.WithoutCancel(t.Context()) // namespaces are deleted when the test has ended
	cluster, err := testbed.Start(ctx, testbed.Options{Number: 9, Name: "m1c9"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	const config = "apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\ncontrolPlane: {clusters: [%s]}\nholds: [subset]\n" +
		"scope: {default: strict, exemptNamespaces: [kube-system, istio-system, meshfence-system, meshfence-second]}\n"
	install := func(o testbed.Installation) *suite {
		installed, err := cluster.Install(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(installed.Stop)
		return &suite{Cluster: cluster, meshfence: installed}
	}
	first := install(testbed.Installation{FenceConfig: fmt.Sprintf(config, "m1c9")})
	namespace := first.CreateNamespace(t, nil)
	first.kubectl(t, twoServices, "apply", "-n", namespace, "-f", "-")
	first.companionsFor(t, namespace, "m1c9")
	before := first.settled(t, namespace)

	second := install(testbed.Installation{FenceConfig: fmt.Sprintf(config, "other"), Namespace: "meshfence-second"})
	second.yielding(t, "meshfence-second", "Service meshfence-system/meshfence and not meshfence-second/meshfence")
	if diff := cmp.Diff(before, first.rest(t, namespace)); diff != "" {
		t.Errorf("written while the second looked around (-before +after):\n%s", diff)
	}

	if err := second.meshfence.TakeOver(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.yielding(t, "meshfence-system", "Service meshfence-second/meshfence and not meshfence-system/meshfence")
	second.companionsFor(t, namespace, "other")
	eventually(t, "the second is called", second.meshfence.WaitServing)
	second.rest(t, namespace)
	second.companionsFor(t, namespace, "other")
}

// companionsFor waits until the companions keep the calls in a cluster of that name.
func (s *suite) companionsFor(t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, "the companions are for "+name, func(ctx context.Context) error {
		for _, rule := range []string{"reviews-meshfence", "ratings-meshfence"} {
			labels, _, err := s.Kubectl(ctx, "", "get", "destinationrule", rule, "-n", namespace, "-o", "jsonpath={.spec.subsets[*].labels}")
			if err != nil {
				return err
			}
			if want := fmt.Sprintf("{%q:%q}", "topology.istio.io/cluster", name); labels != want {
				return fmt.Errorf("%s: %s", rule, labels)
			}
		}
		return nil
	})
}

// yielding waits until an installation leaves both configurations to another, and says so in its metric, its log and
// Events.
func (s *suite) yielding(t *testing.T, namespace, reason string) {
	t.Helper()
	eventually(t, namespace+" yields", func(ctx context.Context) error {
		if yielded := s.leading(t, "meshfence_webhook_configurations_yielded"); yielded < 2 {
			return fmt.Errorf("it leaves %v configurations alone", yielded)
		}
		if !strings.Contains(s.meshfence.Logs(1000), reason) {
			return fmt.Errorf("its log does not say %q", reason)
		}
		notes, _, err := s.Kubectl(ctx, "", "get", "events", "-A", "-o", `jsonpath={range .items[?(@.reason=="ForeignWebhookConfiguration")]}{.involvedObject.kind}: {.message}{"\n"}{end}`)
		if err != nil {
			return err
		}
		for _, kind := range []string{"Mutating", "Validating"} {
			if want := kind + "WebhookConfiguration: its webhooks call " + reason; !strings.Contains(notes, want) {
				return fmt.Errorf("no Event %s in\n%s", want, notes)
			}
		}
		return nil
	})
}

// rest fails if anything that both installations could write changes. It returns the versions.
func (s *suite) rest(t *testing.T, namespace string) map[string]string {
	t.Helper()
	settled := s.settled(t, namespace)
	time.Sleep(restFor)
	after, err := s.versions(t.Context(), namespace)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settled, after); diff != "" {
		t.Errorf("written in %s (-before +after):\n%s", restFor, diff)
	}
	return after
}

// settled returns the versions once nothing is written for a while.
func (s *suite) settled(t *testing.T, namespace string) map[string]string {
	t.Helper()
	settled := map[string]string{}
	eventually(t, "nothing is written for two seconds", func(ctx context.Context) error {
		before, err := s.versions(ctx, namespace)
		if err != nil {
			return err
		}
		time.Sleep(2 * time.Second)
		settled, err = s.versions(ctx, namespace)
		if err == nil && !maps.Equal(before, settled) {
			err = fmt.Errorf("before and after (-before +after):\n%s", cmp.Diff(before, settled))
		}
		return err
	})
	return settled
}

// versions lists the webhook configurations, the companions and their Services with their versions.
func (s *suite) versions(ctx context.Context, namespace string) (map[string]string, error) {
	lines, _, err := s.Kubectl(ctx, "", "get", "-n", namespace,
		"mutatingwebhookconfigurations,validatingwebhookconfigurations,destinationrules,virtualservices,services",
		"-o", `jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.resourceVersion}{"\n"}{end}`)
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for line := range strings.Lines(lines) {
		name, version, _ := strings.Cut(strings.TrimSpace(line), " ")
		versions[name] = version
	}
	if len(versions) < 8 { // two of each but two more
		return nil, fmt.Errorf("only %v", versions)
	}
	return versions, nil
}
