package scale_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

var hosts = flag.Int("hosts", 1000, "how many strict Services TestVerify has")

const (
	// team is how many strict Services a namespace of TestVerify has.
	team = 50
	// verifyEmpty is what verify may hold where nothing is fenced, much of which is its program, and verifyEach what a host
	// may add to that.
	verifyEmpty, verifyEach = 100 << 20, 100 << 10

	meshConfigHold = "{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [m1c1, m1c2]}, holds: [meshConfig]}"

	gateways = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: ingress, namespace: team-000}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [shop.example.com]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ingress, namespace: team-000}
spec:
  hosts: [shop.example.com]
  gateways: [ingress]
  http: [{route: [{destination: {host: service-000, port: {number: 9080}}}]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: east-west, namespace: istio-system}
spec:
  selector: {istio: eastwestgateway}
  servers: [{port: {number: 15443, name: tls, protocol: TLS}, tls: {mode: AUTO_PASSTHROUGH}, hosts: ["*.local"]}]
`
)

// TestVerify: what meshfence verify takes to prove many strict hosts of two clusters, which a real istiod serves.
func TestVerify(t *testing.T) {
	mesh, err := testbed.StartMesh(t.Context(), testbed.MeshOptions{Shared: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mesh.Stop)
	for _, c := range mesh.Clusters {
		fillTeams(t, c)
	}
	first := mesh.Clusters[0]
	if err := first.Apply(t.Context(), gateways); err != nil {
		t.Fatal(err)
	}
	held := "serviceSettings: [{settings: {clusterLocal: true}, hosts: [\"*.svc.cluster.local\"]}]\n"
	if err := first.EditMeshConfig(t.Context(), func(text string) string { return text + held }); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(config, []byte(meshConfigHold), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := []string{
		"verify", "--istiod", mesh.XDS(first), "--plaintext", "--cluster", "m1c1", "--cluster", "m1c2",
		"--kubeconfig", first.Kubeconfig, "--config", config, "-o", "json",
	}
	var last verified
	err = testbed.Eventually(t.Context(), 3*time.Minute, func(ctx context.Context) error {
		last, err = verify(ctx, arguments)
		return err
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, mesh.Logs(20))
	}
	t.Logf("%d hosts for %d clients, %d connections: %s", *hosts, len(last.reports) / *hosts, last.probes(), last)
	if most := verifyEmpty + int64(*hosts)*verifyEach; last.peak > most {
		t.Errorf("verify held %d MiB, more than %d", last.peak>>20, most>>20)
	}
}

// verified is what came of one run.
type verified struct {
	measured
	reports []xds.Report
}

// probes is how many connections were followed.
func (v verified) probes() (n int) {
	for _, r := range v.reports {
		n += r.Probes
	}
	return n
}

// verify runs the command, and fails unless every host is held for every client.
func verify(ctx context.Context, arguments []string) (verified, error) {
	m, err := measure(ctx, arguments...)
	if err != nil {
		return verified{}, err
	}
	v := verified{measured: m}
	if err := json.Unmarshal(m.stdout, &v.reports); err != nil {
		return v, err
	}
	for _, r := range v.reports {
		// The east-west gateway passes on to Pods with a sidecar alone.
		sound := r.Result == xds.Held || r.Result == xds.Empty && r.Kind == xds.Gateway
		if !sound || !r.Known || r.Probes == 0 {
			return v, fmt.Errorf("%s of %s: host %s: %+v", r.Kind, r.Cluster, r.Host, r)
		}
	}
	if len(v.reports) == 0 || len(v.reports)%*hosts != 0 {
		return v, fmt.Errorf("%d reports for %d hosts", len(v.reports), *hosts)
	}
	return v, nil
}

// fillTeams creates the Services, each with two endpoints in this cluster.
func fillTeams(t *testing.T, cluster *testbed.Cluster) {
	t.Helper()
	config := cluster.Config()
	api, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	writers, ctx := errgroup.WithContext(t.Context())
	writers.SetLimit(32)
	for n := range *hosts {
		namespace := fmt.Sprintf("team-%03d", n/team)
		if n%team == 0 {
			labels := map[string]string{policy.FenceKey: "strict"}
			if err := api.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace, Labels: labels}}); err != nil {
				t.Fatal(err)
			}
		}
		service, endpoints := withEndpoints(cluster, namespace, n)
		writers.Go(func() error {
			if err := api.Create(ctx, service); err != nil {
				return err
			}
			return api.Create(ctx, endpoints)
		})
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
}

// withEndpoints returns Service number n without a selector, so that its endpoints are those given.
func withEndpoints(cluster *testbed.Cluster, namespace string, n int) (*corev1.Service, *discoveryv1.EndpointSlice) {
	meta := metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("service-%03d", n%team)}
	service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
		Ports: []corev1.ServicePort{{Name: "http", Port: 9080}, {Name: "tcp", Port: 9090}},
	}}
	first := 10 + n%100*2
	meta.Labels = map[string]string{discoveryv1.LabelServiceName: meta.Name}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{cluster.Host(first).String()}}, {Addresses: []string{cluster.Host(first + 1).String()}}},
	}
	for _, port := range service.Spec.Ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(port.Name), Port: new(port.Port)})
	}
	return service, slice
}
