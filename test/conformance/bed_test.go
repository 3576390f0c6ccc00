package conformance_test

import (
	"cmp"
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// bed is a multi-primary mesh of two clusters with meshfence in both. The clients that are asked for are in the first
// one.
type bed struct {
	*testbed.Mesh
	hold      policy.Hold
	meshfence map[*testbed.Cluster]*testbed.Meshfence
	mappers   map[*testbed.Cluster]meta.RESTMapper
	scenes    atomic.Int32
}

// meshes are the kinds of mesh that rows need, with what istiod's environment adds for them.
func meshes() map[string][]string {
	return map[string][]string{
		"": nil,
		// Here every Service that is not exported stays in its cluster anyway.
		"multi-cluster services": {"ENABLE_MCS_SERVICE_DISCOVERY=true", "ENABLE_MCS_HOST=true"},
		"ambient":                {"PILOT_ENABLE_AMBIENT=true"},
		// Here a case changes the networks of the whole mesh.
		"networks": nil,
	}
}

// startBed starts a mesh with one hold and a guard that refuses. The clusters share no locality.
func startBed(t *testing.T, hold policy.Hold, env []string) *bed {
	t.Helper()
	labels := map[string]map[string]string{}
	for _, cluster := range []string{testbed.FirstCluster, testbed.SecondCluster} {
		labels[cluster] = map[string]string{
			"topology.kubernetes.io/region": region(cluster), "topology.kubernetes.io/zone": "zone",
		}
	}
	b := &bed{
		hold: hold, meshfence: map[*testbed.Cluster]*testbed.Meshfence{},
		mappers: map[*testbed.Cluster]meta.RESTMapper{},
	}
	var err error
	b.Mesh, err = testbed.StartMesh(t.Context(), testbed.MeshOptions{NodeLabels: labels, Routes: true, Env: append([]string{
		"PILOT_ENABLE_GATEWAY_API=true", "PILOT_ENABLE_GATEWAY_API_STATUS=false",
		"PILOT_ENABLE_GATEWAY_API_DEPLOYMENT_CONTROLLER=false", "PILOT_ENABLE_GATEWAY_API_GATEWAYCLASS_CONTROLLER=false",
		// Cases change something all the time: a push must not wait for a quiet moment.
		"PILOT_DEBOUNCE_MAX=1s",
	}, env...)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(b.Logs(5))
		}
		b.Stop()
	})
	for _, c := range b.Clusters {
		b.join(t, c)
	}
	return b
}

// join installs meshfence in a cluster, and prepares what writes to it.
func (b *bed) join(t *testing.T, c *testbed.Cluster) {
	t.Helper()
	installed, err := c.Install(t.Context(), testbed.Installation{FenceConfig: b.fenceConfig(c, policy.Enforce)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(installed.Logs(5))
		}
		installed.Stop()
	})
	kinds, err := discovery.NewDiscoveryClientForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	b.meshfence[c] = installed
	b.mappers[c] = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds))
}

func region(cluster string) string { return "region-" + cluster }

func (b *bed) fenceConfig(c *testbed.Cluster, enforcement policy.Enforcement) string {
	return fmt.Sprintf(`apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [%s], network: own}
holds: [%s]
localities: {%s: [%s/*]}
enforcement: %s
`, c.Name, name(b.hold), c.Name, region(c.Name), enforcement)
}

// audit has the guard of every cluster only count from now on.
func (b *bed) audit(t *testing.T) {
	t.Helper()
	for c, m := range b.meshfence {
		if err := m.Reconfigure(t.Context(), b.fenceConfig(c, policy.Audit)); err != nil {
			t.Fatal(err)
		}
	}
}

// fetch asks the istiod of the first cluster what it would send a client.
func (b *bed) fetch(ctx context.Context, proxy xds.Proxy) (*xds.Snapshot, error) {
	client, err := xds.Dial(xds.Options{Address: b.XDS(b.Clusters[0]), Plaintext: true})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	return client.Fetch(ctx, proxy)
}

// proxy returns the client that a case asks for: a sidecar in the namespace of the Service, or a gateway in that of
// Istio, unless the case says from where.
func proxy(as, from, namespace string) xds.Proxy {
	p := xds.Proxy{Cluster: testbed.FirstCluster, Locality: region(testbed.FirstCluster) + "/zone"}
	switch as {
	case "":
		p.Kind, p.Namespace = xds.Sidecar, cmp.Or(from, namespace)
	default:
		p.Kind, p.Namespace, p.Labels = xds.Gateway, cmp.Or(from, "istio-system"), map[string]string{"istio": as}
	}
	return p
}
