package testbed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meshfence/meshfence/test/testbed"
)

// patience is how long a controller may take on a busy machine.
const patience = 30 * time.Second

func TestCluster(t *testing.T) {
	t.Parallel()
	started := time.Now()
	c, err := testbed.Start(t.Context(), testbed.Options{
		NodeLabels: map[string]string{"topology.kubernetes.io/zone": "zone-1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	t.Logf("ready after %s", time.Since(started).Round(time.Millisecond))

	// Sequential, so that the cluster outlives them.
	t.Run("deletes namespaces", func(t *testing.T) { testNamespaceDeletion(t, c) })
	t.Run("serves Istio kinds and collects garbage", func(t *testing.T) { testGarbageCollection(t, c) })
	t.Run("writes EndpointSlices", func(t *testing.T) { testEndpointSlices(t, c) })
	t.Run("knows other users", func(t *testing.T) { testUsers(t, c) })
	t.Run("a second one stands beside it", func(t *testing.T) { testSecondCluster(t, c) })

	if err := c.Err(); err != nil {
		t.Error(err)
	}
	c.Stop()
	if err := c.Err(); err == nil || !strings.Contains(err.Error(), "kube-apiserver ended") {
		t.Errorf("a stopped cluster has no error that says so: %v", err)
	}
}

func testNamespaceDeletion(t *testing.T, c *testbed.Cluster) {
	var name string
	t.Run("create", func(t *testing.T) {
		name = c.CreateNamespace(t, map[string]string{"shop": "yes"})
		if out := kubectl(t, c, "get", "namespace", "-l", "shop=yes", "-o", "name"); out != "namespace/"+name+"\n" {
			t.Errorf("namespaces with its label: want %s alone, got %s", name, out)
		}
		kubectl(t, c, "create", "configmap", "kept", "-n", name)
	})
	client := clientset(t, c)
	eventually(t, func(ctx context.Context) error {
		_, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("namespace still there: %w", err)
	})
}

func testGarbageCollection(t *testing.T, c *testbed.Cluster) {
	namespace := c.CreateNamespace(t, nil)
	kubectl(t, c, "create", "service", "clusterip", "reviews", "--tcp=9080", "-n", namespace)
	uid := kubectl(t, c, "get", "service", "reviews", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
	rule := `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
  ownerReferences: [{apiVersion: v1, kind: Service, name: reviews, uid: ` + uid + `}]
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}]
`
	if err := c.Apply(t.Context(), rule, "-n", namespace); err != nil {
		t.Fatal(err)
	}
	invalid := strings.Replace(rule, "host: reviews", "host: 7", 1)
	if err := c.Apply(t.Context(), invalid, "-n", namespace); err == nil || !strings.Contains(err.Error(), "spec.host") {
		t.Errorf("a DestinationRule whose host is a number: want an error about spec.host, got %v", err)
	}
	kubectl(t, c, "delete", "service", "reviews", "-n", namespace)
	eventually(t, func(ctx context.Context) error {
		out, _, err := c.Kubectl(ctx, "", "get", "destinationrules", "-n", namespace, "-o", "name")
		if out != "" {
			err = errors.Join(err, fmt.Errorf("still there: %s", out))
		}
		return err
	})
}

func testEndpointSlices(t *testing.T, c *testbed.Cluster) {
	namespace := c.CreateNamespace(t, nil)
	kubectl(t, c, "create", "service", "clusterip", "reviews", "--tcp=9080", "-n", namespace)
	if err := c.CreatePod(t.Context(), namespace, "reviews", c.Host(7), map[string]string{"app": "reviews"}); err != nil {
		t.Fatal(err)
	}
	client := clientset(t, c)
	eventually(t, func(ctx context.Context) error {
		slices, err := client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, slice := range slices.Items {
			for _, endpoint := range slice.Endpoints {
				if *endpoint.Conditions.Ready && endpoint.Addresses[0] == "10.1.0.7" &&
					endpoint.Zone != nil && *endpoint.Zone == "zone-1" {
					return nil
				}
			}
		}
		return fmt.Errorf("no ready endpoint 10.1.0.7 of zone-1 in %v", slices.Items)
	})
	kubectl(t, c, "delete", "pod", "reviews", "-n", namespace)
}

func testUsers(t *testing.T, c *testbed.Cluster) {
	client, err := kubernetes.NewForConfig(c.As("ann", "developers"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Services("default").List(t.Context(), metav1.ListOptions{})
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), `"ann"`) {
		t.Errorf("a user without rights: want forbidden for ann, got %v", err)
	}
}

func testSecondCluster(t *testing.T, first *testbed.Cluster) {
	second, err := testbed.Start(t.Context(), testbed.Options{Number: 2, Name: "m1c2", WithoutIstio: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(second.Stop)
	kubectl(t, second, "create", "namespace", "only-in-second")
	kubectl(t, first, "create", "namespace", "only-in-first")
	for name, c := range map[string]*testbed.Cluster{"only-in-first": first, "only-in-second": second} {
		out := kubectl(t, c, "get", "namespaces", "-o", "name")
		if !strings.Contains(out, name) || strings.Count(out, "only-in-") != 1 {
			t.Errorf("want %s and not the other one, got %s", name, out)
		}
	}
	address := kubectl(t, second, "get", "service", "kubernetes", "-o", "jsonpath={.spec.clusterIP}")
	if !strings.HasPrefix(address, "10.102.") {
		t.Errorf("Service address of cluster 2: want 10.102.x.y, got %s", address)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		options testbed.Options
		want    []string
	}{
		"a number that makes no address": {testbed.Options{Number: 21}, []string{"from 1 to 20, not 21"}},
		"a file that is not there": {
			testbed.Options{Number: 3, WithoutIstio: true, CRDs: []string{"/absent.yaml"}},
			[]string{"start cluster c3", "/absent.yaml", "--- etcd, last", "--- kube-apiserver, last"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := testbed.Start(t.Context(), test.options)
			if err == nil {
				t.Fatal("it started")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("want %q in %v", want, err)
				}
			}
		})
	}
}

func kubectl(t *testing.T, c *testbed.Cluster, args ...string) string {
	t.Helper()
	out, _, err := c.Kubectl(t.Context(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func clientset(t *testing.T, c *testbed.Cluster) *kubernetes.Clientset {
	t.Helper()
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func eventually(t *testing.T, condition func(context.Context) error) {
	t.Helper()
	if err := testbed.Eventually(t.Context(), patience, condition); err != nil {
		t.Fatal(err)
	}
}
