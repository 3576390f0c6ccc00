package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/test/testbed"
)

const (
	// ordinaryServices is how many an ordinary cluster has, at which the peak must leave memoryMargin of the limit. With
	// fewer, the rest counts in proportion, beside what a replica takes in an empty one.
	ordinaryServices = 10_000
	memoryMargin     = 0.3
	emptyMemory      = 40 << 20
	// crowd is how many Services a namespace of the ordinary cluster has, and strictEvery tells which of them are fenced.
	crowd       = 100
	strictEvery = 10
)

// ordinary is a Service with the rule and the route that teams write for one: two versions, a canary by header, a
// connection pool and outlier detection, retries and time limits, in the way of Istio's samples.
const ordinary = `
apiVersion: v1
kind: Service
metadata: {name: %[1]s, labels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/part-of: shop, app.kubernetes.io/managed-by: Helm, helm.sh/chart: shop-1.2.3}}
spec: {selector: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/instance: %[1]s}, ports: [{name: http, port: 8080, targetPort: http}, {name: grpc, port: 9090, targetPort: grpc}, {name: http-metrics, port: 9091, targetPort: metrics}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s, labels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/part-of: shop, app.kubernetes.io/managed-by: Helm, helm.sh/chart: shop-1.2.3}}
spec:
  host: %[1]s.%[2]s.svc.cluster.local
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 100, connectTimeout: 2s}, http: {http2MaxRequests: 1000, maxRequestsPerConnection: 10}}
    outlierDetection: {consecutive5xxErrors: 7, interval: 30s, baseEjectionTime: 2m}
    loadBalancer: {simple: LEAST_REQUEST}
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, labels: {app.kubernetes.io/name: %[1]s, app.kubernetes.io/part-of: shop, app.kubernetes.io/managed-by: Helm, helm.sh/chart: shop-1.2.3}}
spec:
  hosts: [%[1]s.%[2]s.svc.cluster.local]
  http:
  - name: canary
    match: [{headers: {x-canary: {exact: "true"}}}, {uri: {prefix: /v2/}}]
    route: [{destination: {host: %[1]s.%[2]s.svc.cluster.local, subset: v2}}]
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "gateway-error,connect-failure,refused-stream"}
  - name: primary
    route:
    - {destination: {host: %[1]s.%[2]s.svc.cluster.local, subset: v1}, weight: 90}
    - {destination: {host: %[1]s.%[2]s.svc.cluster.local, subset: v2}, weight: 10}
    timeout: 10s
    retries: {attempts: 3, perTryTimeout: 2s, retryOn: "gateway-error,connect-failure,refused-stream"}
`

// TestMemory: the replicas of the manifests stay under their memory limit, with room, in an ordinary cluster with a rule
// and a route for every Service, of which the leader brings a tenth in line.
func TestMemory(t *testing.T) {
	t.Parallel() // on a cluster of its own
	services := 2000
	if *full {
		services = ordinaryServices
	}
	cluster, err := testbed.Start(t.Context(), testbed.Options{Number: 8, Name: "m1c8"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	strict := fill(t, cluster, services)
	began := time.Now()
	meshfence, err := cluster.Install(t.Context(), testbed.Installation{
		FenceConfig: strings.Replace(defaultConfig, "m1c1", "m1c8", 1),
		Args:        []string{"--backfill-rate=1000"},
		LimitMemory: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(meshfence.Stop)
	t.Logf("%d Services, of which %d are strict: ready after %s", services, strict, time.Since(began).Round(time.Second))
	s := &suite{Cluster: cluster, meshfence: meshfence}
	err = testbed.Eventually(t.Context(), 5*time.Minute, func(context.Context) error {
		for series, want := range map[string]int{
			`meshfence_backfill_objects{state="done"}`:    2 * strict, // the Service and its rule; its route names a subset
			`meshfence_strict_services_without_endpoints`: strict,
		} {
			if got := s.leading(t, series); got != float64(want) {
				return fmt.Errorf("%s is %v, want %d", series, got, want)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("the leader does not come to an end: %v\n%s", err, meshfence.Logs(20))
	}
	t.Logf("in line after %s", time.Since(began).Round(time.Second))
	for i := range meshfence.Replicas() {
		memory, err := meshfence.Memory(i)
		if err != nil || !meshfence.Runs(i) {
			t.Fatalf("replica %d has ended, or cannot be asked: %v\n%s", i, err, meshfence.Logs(20))
		}
		if memory.Without != nil {
			t.Logf("by the resident set: %v", memory.Without)
		}
		most := int64(float64(memory.Limit) * (1 - memoryMargin))
		most = emptyMemory + (most-emptyMemory)*int64(services)/ordinaryServices
		t.Logf("replica %d: at most %d MiB, and may %d of %d MiB", i, memory.Peak>>20, most>>20, memory.Limit>>20)
		if memory.Peak > most {
			t.Errorf("replica %d held %d bytes, more than %d", i, memory.Peak, most)
		}
	}
}

// fill creates Services with their rules and routes, a crowd to a namespace, and says how many of them are strict.
func fill(t *testing.T, cluster *testbed.Cluster, services int) (strict int) {
	t.Helper()
	ctrl.SetLogger(logr.Discard())
	api, err := client.New(cluster.Config(), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	writers, ctx := errgroup.WithContext(t.Context())
	writers.SetLimit(32)
	for n := range services / crowd {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("team-%03d", n)}}
		if n%strictEvery == 0 {
			namespace.Labels = map[string]string{"meshfence.io/fence": "strict"}
			strict += crowd
		}
		if err := api.Create(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
		for i := range crowd {
			writers.Go(func() error { return createOrdinary(ctx, api, namespace.Name, fmt.Sprintf("service-%03d", i)) })
		}
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	return strict
}

// createOrdinary creates what kubectl apply would, with the annotation that it leaves.
func createOrdinary(ctx context.Context, api client.Client, namespace, name string) error {
	for document := range strings.SplitSeq(fmt.Sprintf(ordinary, name, namespace), "\n---\n") {
		var object unstructured.Unstructured
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			return err
		}
		object.SetNamespace(namespace)
		last, err := runtime.Encode(unstructured.UnstructuredJSONScheme, &object)
		if err != nil {
			return err
		}
		object.SetAnnotations(map[string]string{corev1.LastAppliedConfigAnnotation: string(last)})
		if err := api.Create(ctx, &object); err != nil {
			return err
		}
	}
	return nil
}
