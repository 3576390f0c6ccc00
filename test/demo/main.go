// Command demo tells the story of meshfence on two clusters of one Istio mesh, with Bookinfo under real calls: who
// answers without a fence, with each kind of fence, when the reviews of a cluster are down, and when a change would
// leak. It ends with an error where anything differs from the story.
package main

import (
	"context"
	"embed"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

//go:embed *.yaml
var files embed.FS

//go:embed fenceconfig.yaml
var fenceConfigTemplate string

func main() { os.Exit(testbed.Run(run, testbed.ToolMeshfence, testbed.ToolIstiod)) }

func run(ctx context.Context) int {
	started := time.Now()
	s := newScript(os.Stdout)
	if err := tell(ctx, s); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		return 1
	}
	s.say("\nDone in %s. Everything above was checked.", time.Since(started).Round(100*time.Millisecond))
	return 0
}

// tell runs the story; its first difference from what it claims is an error.
func tell(ctx context.Context, s *script) error {
	s.say("Starting two Kubernetes control planes, m1c1 and m1c2, and an istiod in each, in a private namespace ...")
	mesh, err := testbed.StartMesh(ctx, testbed.MeshOptions{})
	if err != nil {
		return err
	}
	defer mesh.Stop()
	s.mesh = mesh
	s.say("Installing meshfence in both from manifests/overlays/self-signed ...")
	meshfence, err := install(ctx, mesh)
	if err != nil {
		return err
	}
	for _, m := range meshfence {
		defer m.Stop()
	}
	s.say("Starting productpage, details, ratings and reviews in both: v1 of reviews in m1c1, v2 with stars in m1c2 ...")
	if s.bookinfo, err = mesh.StartBookinfo(ctx, "default"); err != nil {
		return err
	}
	defer s.bookinfo.Stop()

	for _, chapter := range []func(context.Context, *script) error{before, service, namespace, everything, outage, failover, leak, after} {
		if err := chapter(ctx, s); err != nil {
			for _, m := range meshfence {
				fmt.Fprint(os.Stderr, m.Logs(5))
			}
			return err
		}
	}
	return nil
}

// install installs meshfence in every cluster at once.
func install(ctx context.Context, mesh *testbed.Mesh) ([]*testbed.Meshfence, error) {
	var installed []*testbed.Meshfence
	var first error
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, c := range mesh.Clusters {
		all.Go(func() {
			m, err := c.Install(ctx, testbed.Installation{FenceConfig: fenceConfig(c.Name, "none")})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				first = err
				return
			}
			installed = append(installed, m)
		})
	}
	all.Wait()
	if first != nil {
		for _, m := range installed {
			m.Stop()
		}
	}
	return installed, first
}

// fenceConfig returns the config.yaml of a cluster.
func fenceConfig(cluster, fallback string) string {
	return strings.NewReplacer("CLUSTER", cluster, "default: none", "default: "+fallback).Replace(fenceConfigTemplate)
}
