// Command demo tells the story of meshfence on a real API server: it fences a Service of Bookinfo, and shows what
// plain kubectl apply does to the objects around it. It ends with an error where anything differs from the story.
package main

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

//go:embed *.yaml
var files embed.FS

func main() { os.Exit(testbed.Run(run, testbed.ToolMeshfence)) }

func run(ctx context.Context) int {
	started := time.Now()
	s := newScript(os.Stdout)
	if err := tell(ctx, s); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	s.say("Done in %s. Everything above was checked.", time.Since(started).Round(100*time.Millisecond))
	return 0
}

// tell runs the story; its first difference from what it claims is an error.
func tell(ctx context.Context, s *script) error {
	s.say("Starting etcd, kube-apiserver and kube-controller-manager in a private namespace, with Istio's CRDs ...")
	cluster, err := testbed.Start(ctx, testbed.Options{Name: "m1c1"})
	if err != nil {
		return err
	}
	defer cluster.Stop()
	s.cluster = cluster
	config, err := files.ReadFile("fenceconfig.yaml")
	if err != nil {
		return err
	}
	s.say("Installing meshfence from manifests/overlays/self-signed, for the cluster m1c1 ...")
	meshfence, err := cluster.Install(ctx, testbed.Installation{FenceConfig: string(config)})
	if err != nil {
		return err
	}
	defer meshfence.Stop()

	for _, chapter := range []func(context.Context, *script) error{before, fence, refuse} {
		if err := chapter(ctx, s); err != nil {
			return err
		}
	}
	s.heading("Summary")
	s.say("  reviews was fenced by one annotation.")
	s.say("  Its DestinationRule and VirtualService came back from plain kubectl apply with subsets of this cluster.")
	s.say("  A rule that would send its traffic to m1c2 was refused, with the reason.")
	return nil
}

func before(ctx context.Context, s *script) error {
	s.heading("Bookinfo, without a fence")
	if err := s.kubectl(ctx, "apply", "-f", "bookinfo.yaml"); err != nil {
		return err
	}
	if err := s.kubectl(ctx, "apply", "-f", "reviews-rule.yaml", "--dry-run=server", "-o", "jsonpath={.spec.subsets}"); err != nil {
		return err
	}
	return s.lacks("topology.istio.io/cluster")
}

func fence(ctx context.Context, s *script) error {
	s.heading("Fence reviews")
	steps := []struct {
		args []string
		want []string
	}{
		{[]string{"annotate", "service", "reviews", "meshfence.io/fence=strict"}, []string{"annotated"}},
		{[]string{"get", "service", "reviews", "-o", "jsonpath={.metadata.labels}{\"\\n\"}{.metadata.annotations.meshfence\\.io/fenced-by}"},
			[]string{`"meshfence.io/fenced":"strict"`, `service annotation`}},
		{[]string{"apply", "-f", "reviews-rule.yaml"}, []string{"created"}},
		{[]string{"get", "destinationrule", "reviews", "-o", "jsonpath={range .spec.subsets[*]}{.name}{\"\\t\"}{.labels}{\"\\n\"}{end}"},
			[]string{
				`v1	{"topology.istio.io/cluster":"m1c1","version":"v1"}`,
				`v2	{"topology.istio.io/cluster":"m1c1","version":"v2"}`,
				`meshfence-local	{"topology.istio.io/cluster":"m1c1"}`,
			}},
		{[]string{"apply", "-f", "reviews-route.yaml"}, []string{"created"}},
		{[]string{"get", "virtualservice", "reviews", "-o", "jsonpath={range .spec.http[*]}{.route[0].destination}{\"\\n\"}{end}"},
			[]string{`"subset":"v2"`, `"subset":"meshfence-local"`}},
	}
	for _, step := range steps {
		if err := s.kubectl(ctx, step.args...); err != nil {
			return err
		}
		if err := s.has(step.want...); err != nil {
			return err
		}
	}
	return nil
}

func refuse(ctx context.Context, s *script) error {
	s.heading("A change that would leak")
	err := s.kubectl(ctx, "apply", "-f", "reviews-leak.yaml")
	if err == nil {
		return errors.New("the leak was accepted")
	}
	return s.has("destinationrule-foreign-subset", "reviews.default.svc.cluster.local is strict (service annotation)",
		"spec.subsets[1].labels[topology.istio.io/cluster]", "m1c2")
}

// has reports what the last output lacks.
func (s *script) has(want ...string) error {
	for _, w := range want {
		if !strings.Contains(s.output, w) {
			return fmt.Errorf("the output must contain %q", w)
		}
	}
	return nil
}

// lacks reports what the last output has.
func (s *script) lacks(unwanted ...string) error {
	for _, u := range unwanted {
		if strings.Contains(s.output, u) {
			return fmt.Errorf("the output must not contain %q", u)
		}
	}
	return nil
}
