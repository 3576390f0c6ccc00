package admit_test

import (
	"strings"
	"testing"

	extensionsv1alpha1 "istio.io/client-go/pkg/apis/extensions/v1alpha1"
	istiov1 "istio.io/client-go/pkg/apis/networking/v1"
	istiov1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	istiov1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	gatewayv1alpha2 "sigs.k8s.io/gateway-api/apis/v1alpha2"
	gatewayv1alpha3 "sigs.k8s.io/gateway-api/apis/v1alpha3"
	gatewayv1beta1 "sigs.k8s.io/gateway-api/apis/v1beta1"

	"github.com/meshfence/meshfence/policy/admit"
)

func TestMisnamed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ apiVersion, kind, want string }{
		"a typing error in the version":    {"networking.istio.io/v1aplha3", "DestinationRule", `"networking.istio.io/v1aplha3" has no kind "DestinationRule": must be networking.istio.io/v1 DestinationRule`},
		"a version that there is not":      {"networking.istio.io/v2", "VirtualService", "must be networking.istio.io/v1 VirtualService"},
		"no version":                       {"networking.istio.io", "Gateway", `must be networking.istio.io/v1 Gateway`},
		"no version in Kubernetes":         {"networking.k8s.io", "Ingress", "must be networking.k8s.io/v1 Ingress"},
		"an empty version":                 {"gateway.networking.k8s.io/", "Gateway", `must be gateway.networking.k8s.io/v1 Gateway`},
		"a plural":                         {"networking.istio.io/v1", "DestinationRules", "must be networking.istio.io/v1 DestinationRule"},
		"lower case":                       {"networking.istio.io/v1", "destinationrule", "must be networking.istio.io/v1 DestinationRule"},
		"a plural of the Gateway API":      {"gateway.networking.k8s.io/v1", "HTTPRoutes", "must be gateway.networking.k8s.io/v1 HTTPRoute"},
		"a kind that is like none":         {"extensions.istio.io/v1alpha1", "WasmPlugn", "must be extensions.istio.io/v1alpha1 WasmPlugin or extensions.istio.io/v1alpha1 TrafficExtension"},
		"a kind of another group of Istio": {"networking.istio.io/v1", "WasmPlugin", "must be extensions.istio.io/v1alpha1 WasmPlugin"},
		"a core kind in lower case":        {"v1", "service", "must be v1 Service"},
		"a core plural":                    {"v1", "Pods", "must be v1 Pod"},
		"a core kind in apps":              {"apps/v1", "Service", "must be v1 Service"},
		"apps without a version":           {"apps", "Service", "must be v1 Service"},
		"a kind of Istio in core":          {"v1", "Gateway", "must be networking.istio.io/v1 Gateway or gateway.networking.k8s.io/v1 Gateway"},
		"an Ingress as it once was":        {"extensions/v1beta1", "Ingress", "must be networking.k8s.io/v1 Ingress"},

		"an old version that is served":       {"networking.istio.io/v1alpha3", "Sidecar", ""},
		"a list":                              {"networking.istio.io/v1", "DestinationRuleList", ""},
		"any list":                            {"v1", "List", ""},
		"a kind that nothing is asked of":     {"gateway.networking.k8s.io/v1alpha2", "ReferencePolicy", ""},
		"another core kind":                   {"v1", "Secret", ""},
		"a kubeconfig":                        {"v1", "Config", ""},
		"a Service of Knative":                {"serving.knative.dev/v1", "Service", ""},
		"a Service of OpenSLO":                {"openslo/v1", "Service", ""},
		"a service of a catalog":              {"v3", "service", ""},
		"an export in a version to come":      {"multicluster.x-k8s.io/v1beta1", "ServiceExport", ""},
		"a group that is like one of Istio's": {"networking.istio.io.example.com/v1", "destinationrule", ""},
		"nothing":                             {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := admit.Misnamed(c.apiVersion, c.kind); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// Whatever Kubernetes, Istio and the Gateway API have is not misnamed.
func TestNothingRealIsMisnamed(t *testing.T) {
	t.Parallel()
	gone := map[schema.GroupVersion]bool{ // API servers stopped serving them in 1.22 and 1.25
		{Group: "extensions", Version: "v1beta1"}: true, {Group: "networking.k8s.io", Version: "v1beta1"}: true, {Group: "discovery.k8s.io", Version: "v1beta1"}: true,
	}
	known := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		scheme.AddToScheme, istiov1.AddToScheme, istiov1beta1.AddToScheme, istiov1alpha3.AddToScheme, extensionsv1alpha1.AddToScheme,
		gatewayv1.Install, gatewayv1beta1.Install, gatewayv1alpha3.Install, gatewayv1alpha2.Install,
	} {
		if err := add(known); err != nil {
			t.Fatal(err)
		}
	}
	for gvk, goType := range known.AllKnownTypes() {
		if strings.HasPrefix(goType.PkgPath(), "k8s.io/apimachinery/") || gone[gvk.GroupVersion()] {
			continue
		}
		if got := admit.Misnamed(gvk.GroupVersion().String(), gvk.Kind); got != "" {
			t.Error(got)
		}
	}
}
