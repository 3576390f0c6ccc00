package traffic_test

import (
	"cmp"
	"fmt"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

// calls is how many calls decide who answers. Of an even balance they miss one side once in 2^39.
const calls = 40

// world is a mesh with meshfence in every cluster that holds Istio's configuration.
type world struct {
	*testbed.Mesh

	labels    map[string]map[string]string
	meshfence map[*testbed.Cluster]*testbed.Meshfence
	config    string
}

// startMesh starts a mesh that the test's end stops. One runs at a time.
func startMesh(t *testing.T, o testbed.MeshOptions) *testbed.Mesh {
	t.Helper()
	m, err := testbed.StartMesh(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(m.Logs(20))
		}
		m.Stop()
	})
	return m
}

// startWorld starts a mesh and installs meshfence.
func startWorld(t *testing.T, o testbed.MeshOptions) *world {
	t.Helper()
	w := &world{
		Mesh: startMesh(t, o), labels: o.NodeLabels,
		meshfence: map[*testbed.Cluster]*testbed.Meshfence{}, config: holds{"meshConfig"}.config("none"),
	}
	for _, c := range w.Primaries() {
		installed, err := c.Install(t.Context(), testbed.Installation{FenceConfig: w.fenceConfig(c, w.config)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if t.Failed() {
				t.Log(installed.Logs(20))
			}
			installed.Stop()
		})
		w.meshfence[c] = installed
	}
	return w
}

// holds are those of a FenceConfig.
type holds []string

func (h holds) String() string { return strings.Join(h, "+") }

// config returns the part of a FenceConfig that all clusters share.
func (h holds) config(fallback string) string {
	return fmt.Sprintf("holds: [%s]\nscope: {default: %s}\n", strings.Join(h, ", "), fallback)
}

// fenceConfig returns the FenceConfig of one cluster. It lists the localities of every Node that meshfence cannot read:
// of the other clusters, or of all where they share an istiod.
func (w *world) fenceConfig(c *testbed.Cluster, shared string) string {
	var localities []string
	for _, other := range w.Clusters {
		if other != c || len(w.ControlPlane(c)) > 1 {
			localities = append(localities, fmt.Sprintf("%s: [%s]", other.Name, w.locality(other.Name)))
		}
	}
	return fmt.Sprintf("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\ncontrolPlane: {clusters: [%s]}\nlocalities: {%s}\n%s",
		strings.Join(w.ControlPlane(c), ", "), strings.Join(localities, ", "), shared)
}

// locality returns region/zone/subzone of a cluster's Node.
func (w *world) locality(cluster string) string {
	labels := w.labels[cluster]
	return labels["topology.kubernetes.io/region"] + "/" + labels["topology.kubernetes.io/zone"] + "/" + labels["topology.istio.io/subzone"]
}

// configure has every meshfence use other holds and another global fence, and returns when all do.
func (w *world) configure(t *testing.T, h holds, fallback string) {
	t.Helper()
	config := h.config(fallback)
	if config == w.config {
		return
	}
	for c, m := range w.meshfence {
		if err := m.Reconfigure(t.Context(), w.fenceConfig(c, config)); err != nil {
			t.Fatal(err)
		}
	}
	w.config = config
}

// kubectl runs the same command in every cluster that holds Istio's configuration.
func (w *world) kubectl(t *testing.T, args ...string) {
	t.Helper()
	for _, c := range w.Primaries() {
		if _, _, err := c.Kubectl(t.Context(), "", args...); err != nil {
			t.Fatalf("%s: %v", c.Name, err)
		}
	}
}

func apply(t *testing.T, c *testbed.Cluster, namespace, manifests string) {
	t.Helper()
	if err := c.Apply(t.Context(), manifests, "-n", cmp.Or(namespace, "default")); err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
}

func edit(t *testing.T, c *testbed.Cluster, change func(string) string) {
	t.Helper()
	if err := c.EditMeshConfig(t.Context(), change); err != nil {
		t.Fatal(err)
	}
}

// reset writes the mesh config as an installer does.
func reset(t *testing.T, c *testbed.Cluster) {
	t.Helper()
	if err := c.InstallMeshConfig(t.Context()); err != nil {
		t.Fatal(err)
	}
}
