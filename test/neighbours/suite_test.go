package neighbours_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/test/testbed"
)

// bed is the API server with meshfence that all rows share. They do not run in parallel, because the FenceConfig is one
// for all.
type bed struct {
	*testbed.Cluster
	meshfence *testbed.Meshfence
	holds     string
}

const fenceConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: %s
localities: {m1c2: [r2/*]}
`

// node is the Node of the cluster, as far as it counts for hold locality.
const node = `{apiVersion: v1, kind: Node, metadata: {name: m1c1, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}}
`

// start starts the bed once. It lives as long as the test bed.
var start = sync.OnceValues(func() (*bed, error) {
	ctx := context.Background()
	crds, err := testbed.Tool("flagger-crds")
	if err != nil {
		return nil, err
	}
	cluster, err := testbed.Start(ctx, testbed.Options{Number: 7, Name: "m1c1", CRDs: []string{crds}, NodeLabels: map[string]string{
		"topology.kubernetes.io/region": "r1", "topology.kubernetes.io/zone": "z1",
	}})
	if err != nil {
		return nil, err
	}
	b := &bed{Cluster: cluster, holds: "[subset]"}
	if _, _, err := b.Kubectl(ctx, "", "create", "namespace", "istio-system"); err != nil {
		return nil, err
	}
	if err := b.installIstiod(ctx, "/dev/stdout"); err != nil {
		return nil, err
	}
	b.meshfence, err = cluster.Install(ctx, testbed.Installation{FenceConfig: fmt.Sprintf(fenceConfig, b.holds)})
	return b, err
})

// hold gives the holds and waits until every replica has them in force.
func (b *bed) hold(t *testing.T, holds string) {
	t.Helper()
	if holds == b.holds {
		return
	}
	if err := b.meshfence.Reconfigure(t.Context(), fmt.Sprintf(fenceConfig, holds)); err != nil {
		t.Fatal(err)
	}
	b.holds = holds
}

// strictNamespace makes a namespace whose Services are all strict.
func (b *bed) strictNamespace(t *testing.T) string {
	t.Helper()
	return b.CreateNamespace(t, map[string]string{"meshfence.io/fence": "strict"})
}

// client returns a client for unstructured objects whose requests config sends.
func newClient(t *testing.T, config *rest.Config) client.Client {
	t.Helper()
	c, err := client.New(config, client.Options{Scheme: runtime.NewScheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// counting returns a config of the administrator, and a counter of the requests through it that write, dry runs
// apart.
func (b *bed) counting() (*rest.Config, *atomic.Int64) {
	config, writes := b.Config(), new(atomic.Int64)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &counter{next, writes} })
	return config, writes
}

type counter struct {
	next   http.RoundTripper
	writes *atomic.Int64
}

// RoundTrip counts a request and hands it on.
func (c *counter) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet && !request.URL.Query().Has("dryRun") {
		c.writes.Add(1)
	}
	return c.next.RoundTrip(request)
}

// objects reads YAML documents into a namespace.
func objects(t *testing.T, namespace, manifests string) []*unstructured.Unstructured {
	t.Helper()
	var all []*unstructured.Unstructured
	reader := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(manifests)), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := reader.Decode(&object.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		object.SetNamespace(namespace)
		all = append(all, object)
	}
}

// live reads an object as it is stored.
func (b *bed) live(t *testing.T, object *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	stored := object.NewEmptyInstance().(*unstructured.Unstructured)
	stored.SetGroupVersionKind(object.GroupVersionKind())
	if err := newClient(t, b.Config()).Get(t.Context(), client.ObjectKeyFromObject(object), stored); err != nil {
		t.Fatal(err)
	}
	return stored
}

// versions returns the resourceVersions of objects by kind and name.
func (b *bed) versions(t *testing.T, all []*unstructured.Unstructured) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, o := range all {
		versions[o.GetKind()+"/"+o.GetName()] = b.live(t, o).GetResourceVersion()
	}
	return versions
}

// settled fails the test where an object lacks something that admission would add to it, or a Service its label.
func (b *bed) settled(t *testing.T, all []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range all {
		if err := b.lacks(t, o); err != nil {
			t.Error(err)
		}
	}
}

// lacks returns an error that says what an object lacks.
func (b *bed) lacks(t *testing.T, o *unstructured.Unstructured) error {
	t.Helper()
	stored := b.live(t, o)
	again := stored.DeepCopy()
	if err := newClient(t, b.Config()).Update(t.Context(), again, client.DryRunAll); err != nil {
		return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
	}
	if want, got := asJSON(t, again.Object["spec"]), asJSON(t, stored.Object["spec"]); want != got {
		return fmt.Errorf("%s %s is stored as\n%s\nand admission would make of it\n%s", o.GetKind(), o.GetName(), got, want)
	}
	if o.GetKind() == "Service" && stored.GetLabels()["meshfence.io/fenced"] != "strict" {
		return fmt.Errorf("Service %s is not fenced: labels %v", o.GetName(), stored.GetLabels())
	}
	return nil
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// eventually polls until the condition returns nil.
func eventually(t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	if err := testbed.Eventually(t.Context(), 30*time.Second, condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
