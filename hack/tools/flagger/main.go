// Command flagger runs one step of Flagger's own routers for Istio on a Canary that is in the cluster, and says in JSON
// on stdout what came of it. It is a program of its own, because Flagger needs older Kubernetes modules than the tests
// that run it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	flaggerv1 "github.com/fluxcd/flagger/pkg/apis/flagger/v1beta1"
	"github.com/fluxcd/flagger/pkg/client/clientset/versioned"
	"github.com/fluxcd/flagger/pkg/router"
)

// answer is what is printed.
type answer struct {
	// Writes counts the requests that were no reads.
	Writes int64 `json:"writes"`
	// Primary and Canary are the weights, as Flagger reads them back.
	Primary int `json:"primary"`
	Canary  int `json:"canary"`
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "path of the kubeconfig")
	namespace := flag.String("namespace", "default", "namespace of the Canary")
	name := flag.String("canary", "", "name of the Canary")
	weight := flag.Int("weight", -1, "weight of the canary to set; below 0 reconciles alone, as every tick does")
	flag.Parse()
	result, err := run(*kubeconfig, *namespace, *name, *weight)
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "flagger: %v\n", err)
		os.Exit(1)
	}
}

// run does what Flagger's controller does at a tick (its pkg/controller/scheduler.go): the Services, then the
// DestinationRules and the VirtualService, then the weights.
func run(kubeconfig, namespace, name string, weight int) (answer, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return answer{}, err
	}
	var writes atomic.Int64
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &counter{next, &writes} })
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return answer{}, err
	}
	flagger, err := versioned.NewForConfig(config)
	if err != nil {
		return answer{}, err
	}
	canary, err := flagger.FlaggerV1beta1().Canaries(namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return answer{}, err
	}
	mesh, err := reconcile(config, kube, flagger, canary)
	if err != nil {
		return answer{}, err
	}
	if weight >= 0 {
		if err := mesh.SetRoutes(canary, 100-weight, weight, false); err != nil {
			return answer{}, err
		}
	}
	result := answer{Writes: writes.Load()}
	result.Primary, result.Canary, _, err = mesh.GetRoutes(canary)
	return result, err
}

func reconcile(config *rest.Config, kube kubernetes.Interface, flagger versioned.Interface, canary *flaggerv1.Canary) (router.Interface, error) {
	factory := router.NewFactory(config, kube, flagger, "", "", zap.NewNop().Sugar(), flagger, true)
	services := factory.KubernetesRouter(canary.Spec.TargetRef.Kind, "app", canary.Spec.TargetRef.Name, nil)
	if err := services.Initialize(canary); err != nil {
		return nil, err
	}
	if err := services.Reconcile(canary); err != nil {
		return nil, err
	}
	mesh := factory.MeshRouter(flaggerv1.IstioProvider, "app")
	return mesh, mesh.Reconcile(canary)
}

// counter counts requests that write.
type counter struct {
	next   http.RoundTripper
	writes *atomic.Int64
}

// RoundTrip counts a request and hands it on.
func (c *counter) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.Method != http.MethodGet {
		c.writes.Add(1)
	}
	return c.next.RoundTrip(request)
}
