// Package scale_test measures what a cluster of many Services takes of the replicas of meshfence and of meshfence verify,
// with a real API server and a real istiod: memory at its peak, and time of the processor.
package scale_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
)

var (
	services = flag.Int("services", 2000, "how many Services the cluster has")
	straight = flag.Bool("straight", false, "write the Services straight into etcd, headless and without selectors, so that no controller works on them")
)

const (
	// crowd is how many Services a namespace has; every tenth namespace is strict.
	crowd = 100
	// empty is what a replica may hold in a cluster without Services, and each what a Service may add to that: a tenth of
	// them are strict, and have companions.
	empty, each = 60 << 20, 2300
	// auditEmpty and auditEach are that for the command, much of which is its program.
	auditEmpty, auditEach = 100 << 20, 2300

	config = "{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [m1c9]}, holds: [subset]}"
)

func TestMain(m *testing.M) { testbed.Main(m, testbed.ToolIstiod, testbed.ToolMeshfence) }

// TestScale: the memory of a replica grows by little for each Service. Most of them are headless, because an API server takes
// ever longer to find a free ClusterIP.
func TestScale(t *testing.T) {
	ctrl.SetLogger(logr.Discard())
	cluster, err := testbed.Start(t.Context(), testbed.Options{Number: 9, Name: "m1c9"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	began := time.Now()
	strict := fill(t, cluster)
	t.Logf("%d Services, of which %d are strict, made in %s", *services, strict, time.Since(began).Round(time.Second))
	began = time.Now()
	meshfence, err := cluster.Install(t.Context(), testbed.Installation{FenceConfig: config, Args: []string{"--backfill-rate=1000"}, LimitMemory: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(meshfence.Stop)
	report(t, meshfence, "ready", began)
	err = testbed.Eventually(t.Context(), 10*time.Minute, func(ctx context.Context) error {
		for i := range meshfence.Replicas() {
			value, err := meshfence.Metric(ctx, i, "meshfence_strict_services_without_endpoints")
			if err == nil && value == float64(strict) {
				return nil
			}
		}
		return fmt.Errorf("no replica has looked at all %d", strict)
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, meshfence.Logs(20))
	}
	report(t, meshfence, "audited", began)
	audit(t, cluster, strict)
	for i := range meshfence.Replicas() {
		memory, err := meshfence.Memory(i)
		if err != nil {
			t.Fatal(err)
		}
		if most := empty + int64(*services)*each; memory.Peak > most {
			t.Errorf("replica %d held %d MiB, more than %d", i, memory.Peak>>20, most>>20)
		}
	}
}

// audit runs the command beside the replicas.
func audit(t *testing.T, cluster *testbed.Cluster, strict int) {
	t.Helper()
	m, err := measure(t.Context(), "audit", "--kubeconfig", cluster.Kubeconfig, "-o", "json")
	if err != nil {
		t.Fatal(err)
	}
	var report struct{ Services []json.RawMessage }
	if err := json.Unmarshal(m.stdout, &report); err != nil || len(report.Services) != strict {
		t.Fatalf("want %d strict Services, got %d: %v", strict, len(report.Services), err)
	}
	t.Logf("audit: %s", m)
	if most := auditEmpty + int64(*services)*auditEach; m.peak > most {
		t.Errorf("audit held %d MiB, more than %d", m.peak>>20, most>>20)
	}
}

// report logs what the replicas have taken since the start.
func report(t *testing.T, m *testbed.Meshfence, what string, began time.Time) {
	t.Helper()
	processor, err := m.ProcessorTime()
	if err != nil {
		t.Fatal(err)
	}
	var peaks []string
	for i := range m.Replicas() {
		memory, err := m.Memory(i)
		if err != nil {
			t.Fatal(err)
		}
		peaks = append(peaks, fmt.Sprintf("%d MiB", memory.Peak>>20))
	}
	t.Logf("%s after %s: %s of the processor for all replicas, peaks %s",
		what, time.Since(began).Round(100*time.Millisecond), processor.Round(100*time.Millisecond), strings.Join(peaks, ", "))
}

// fill creates the Services, and says how many of them are strict.
func fill(t *testing.T, cluster *testbed.Cluster) (strict int) {
	t.Helper()
	api, err := client.New(cluster.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	writers, ctx := errgroup.WithContext(t.Context())
	writers.SetLimit(32)
	for n := range *services / crowd {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team-%04d", n)}}
		if n%10 == 0 {
			namespace.Labels = map[string]string{policy.FenceKey: "strict"}
			strict += crowd
		}
		if err := api.Create(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
		if *straight {
			writers.Go(func() error { return store(ctx, cluster, namespace.Name) })
			continue
		}
		for i := range crowd {
			writers.Go(func() error { return api.Create(ctx, service(namespace.Name, fmt.Sprintf("service-%03d", i), i == 0)) })
		}
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	if !*straight {
		awaitEndpoints(t, api)
	}
	return strict
}

// awaitEndpoints waits until the endpoints controller has been through the Services: those of meshfence come after them.
func awaitEndpoints(t *testing.T, api client.Client) {
	t.Helper()
	last := client.InNamespace(fmt.Sprintf("team-%04d", *services/crowd-1))
	err := testbed.Eventually(t.Context(), 10*time.Minute, func(ctx context.Context) error {
		var slices discoveryv1.EndpointSliceList
		if err := api.List(ctx, &slices, last); err != nil || len(slices.Items) == crowd {
			return err
		}
		return fmt.Errorf("%d of %d EndpointSlices in the last namespace", len(slices.Items), crowd)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// service is an ordinary one, headless unless it is to have an address.
func service(namespace, name string, address bool) *corev1.Service {
	labels := map[string]string{
		"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop", "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "shop-1.2.3",
	}
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 8080}, {Name: "grpc", Port: 9090}, {Name: "http-metrics", Port: 9091}},
		},
	}
	if !address {
		s.Spec.ClusterIP = corev1.ClusterIPNone
	}
	return s
}
