package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	ordinaryBase = "testdata/ordinary-base.yaml"
	ordinary     = "testdata/ordinary/*.yaml"
)

// ordinaryConfig has hold locality find its localities by the Node of the base.
func ordinaryConfig(t *testing.T, holds string) string {
	t.Helper()
	return write(t, t.TempDir(), "config.yaml", `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [`+holds+"]\n")
}

// TestCheckOrdinary: what users write beside strict Services for other ends passes without a word, under every hold:
// traffic shifting and mirroring, gateways for what leaves and for what comes in, external services and databases, Sidecars,
// workloads, and rules for a namespace or for the mesh.
func TestCheckOrdinary(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(ordinary)
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, holds := range []string{"meshConfig", "locality", "subset", "meshConfig, locality, subset"} {
		config := ordinaryConfig(t, holds)
		for _, file := range files {
			t.Run(holds+"/"+filepath.Base(file), func(t *testing.T) {
				t.Parallel()
				code, stdout, stderr := meshfence(t, "", "check", "-f", ordinaryBase, "-f", file, "--config", config)
				if diff := cmp.Diff("", stdout); diff != "" || code != 0 {
					t.Errorf("exit code %d, %s\nfindings (-want +got):\n%s", code, stderr, diff)
				}
			})
		}
	}
}

// TestCheckOrdinaryBase: the Services of the base are fenced, so that what leaks beside them is found.
func TestCheckOrdinaryBase(t *testing.T) {
	t.Parallel()
	base, err := os.ReadFile(ordinaryBase)
	if err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"reviews", "web", "db", "mongo", "plain"} {
		leaky := "---\n{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: leaky, namespace: app}, spec: {hosts: [" + service + ".shop.svc.cluster.local]}}\n"
		code, stdout, stderr := meshfence(t, string(base)+leaky, "check", "-f", "-", "--config", ordinaryConfig(t, "meshConfig"))
		if code != 1 {
			t.Errorf("%s: exit code %d, want 1: %s %s", service, code, stdout, stderr)
		}
	}
}
