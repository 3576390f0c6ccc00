package cluster_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// TestSetupCountsServices: what the index holds shows in the metrics. The manager does not start, and so asks
// no API server.
func TestSetupCountsServices(t *testing.T) {
	t.Parallel()
	mgr, err := ctrl.NewManager(&rest.Config{Host: "https://unused.invalid"}, ctrl.Options{
		Cache:          cluster.CacheOptions(install),
		Metrics:        metricsserver.Options{BindAddress: "0"},
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return coreKinds(), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	rules := leak.Rules()
	config, err := policy.ParseConfig(policy.ConfigMapSource(install, leak.IDs(rules)), []byte(fenced))
	if err != nil {
		t.Fatal(err)
	}
	registry := prometheus.NewPedanticRegistry()
	metrics, err := cluster.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	index := policy.NewIndex(config)
	o := cluster.Options{Index: index, Rules: rules, InstallNamespace: install, Metrics: metrics}
	if _, err := cluster.Setup(t.Context(), mgr, o); err != nil {
		t.Fatal(err)
	}
	index.SetService(hostname.Host{Namespace: "shop", Name: "reviews"}, nil)
	index.SetService(hostname.Host{Namespace: "default", Name: "web"}, map[string]string{policy.FenceKey: "prefer"})
	const want = `
# HELP meshfence_services Services by fence.
# TYPE meshfence_services gauge
meshfence_services{fence="none"} 0
meshfence_services{fence="prefer"} 1
meshfence_services{fence="strict"} 1
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "meshfence_services"); err != nil {
		t.Error(err)
	}
}

func coreKinds() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind(object.KindService), meta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind(object.KindConfigMap), meta.RESTScopeNamespace)
	mapper.Add(corev1.SchemeGroupVersion.WithKind(object.KindNamespace), meta.RESTScopeRoot)
	mapper.Add(discoveryv1.SchemeGroupVersion.WithKind(object.KindEndpointSlice), meta.RESTScopeNamespace)
	return mapper
}

func TestRegisterServices(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	count := func() map[string]int { return map[string]int{"strict": 2, "none": 100} }
	metrics, err := cluster.NewMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	if err := metrics.RegisterServices(count); err != nil {
		t.Fatal(err)
	}
	const want = `
# HELP meshfence_services Services by fence.
# TYPE meshfence_services gauge
meshfence_services{fence="none"} 100
meshfence_services{fence="strict"} 2
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "meshfence_services"); err != nil {
		t.Error(err)
	}
	if err := metrics.RegisterServices(count); err == nil {
		t.Error("registered twice")
	}
}
