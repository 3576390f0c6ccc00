package bench_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
)

// scenarios returns requests for the kinds that are written most, and for each what has to be done: nothing, an edit, the
// first fencing of a rule with many subsets, a refusal. The rules and routes have about 7 kB.
func scenarios(tb testing.TB) map[string]scenario {
	tb.Helper()
	create := func(kind string, o map[string]any) []byte { return review(tb, kind, o, nil) }
	update := func(kind string, o map[string]any) []byte { return review(tb, kind, o, older(o)) }
	return map[string]scenario{
		"DestinationRule/mutate-noop":              {admit.MutatePath, create("DestinationRule", destinationRule("open", "web", "v1")), "allowed"},
		"DestinationRule/mutate-edit":              {admit.MutatePath, create("DestinationRule", unfencedSubset()), "patched"},
		"DestinationRule/mutate-first":             {admit.MutatePath, create("DestinationRule", destinationRule("shop", "reviews", "v1")), "patched"},
		"DestinationRule/validate-noop":            {admit.ValidatePath, create("DestinationRule", destinationRule("open", "web", "v1")), "allowed"},
		"DestinationRule/validate-deny":            {admit.ValidatePath, create("DestinationRule", destinationRule("shop", "reviews", "v1")), "denied"},
		"DestinationRule/update/validate-deny":     {admit.ValidatePath, review(tb, "DestinationRule", destinationRule("shop", "reviews", "v1"), unfencedSubset()), "denied"},
		"DestinationRule/update/validate-existing": {admit.ValidatePath, update("DestinationRule", destinationRule("shop", "reviews", "v1")), "allowed"},
		"DestinationRule/update/validate-noop":     {admit.ValidatePath, update("DestinationRule", destinationRule("open", "web", "v1")), "allowed"},
		"VirtualService/mutate-noop":               {admit.MutatePath, create("VirtualService", virtualService("shop", "reviews", "meshfence-local")), "allowed"},
		"VirtualService/mutate-edit":               {admit.MutatePath, create("VirtualService", virtualService("shop", "reviews", "")), "patched"},
		"VirtualService/validate-noop":             {admit.ValidatePath, create("VirtualService", virtualService("shop", "reviews", "meshfence-local")), "allowed"},
		"VirtualService/validate-deny":             {admit.ValidatePath, create("VirtualService", virtualService("shop", "reviews", "meshfence-m1c2")), "denied"},
		"VirtualService/update/mutate-noop":        {admit.MutatePath, update("VirtualService", virtualService("shop", "reviews", "meshfence-local")), "allowed"},
		"VirtualService/update/validate-noop":      {admit.ValidatePath, update("VirtualService", virtualService("shop", "reviews", "meshfence-local")), "allowed"},
		"Service/mutate-noop":                      {admit.MutatePath, create("Service", service("open", "web")), "allowed"},
		"Service/mutate-edit":                      {admit.MutatePath, create("Service", service("shop", "reviews")), "patched"},
		"Service/validate-noop":                    {admit.ValidatePath, create("Service", service("open", "web")), "allowed"},
		"Service/update/mutate-noop":               {admit.MutatePath, update("Service", service("open", "web")), "allowed"},
		"Service/update/validate-noop":             {admit.ValidatePath, update("Service", service("open", "web")), "allowed"},
		"ServiceEntry/networks/validate-noop":      {admit.ValidatePath, create("ServiceEntry", networks()), "allowed"},
		"ServiceEntry/update/validate-noop":        {admit.ValidatePath, update("ServiceEntry", networks()), "allowed"},
		"EndpointSlice/update/validate-noop":       {admit.ValidatePath, update("EndpointSlice", endpointSlice()), "allowed"},
		"EndpointSlice/validate-noop":              {admit.ValidatePath, create("EndpointSlice", endpointSlice()), "allowed"},
	}
}

// review returns what an API server sends for the creation of an object, or its update where there is an old one.
func review(tb testing.TB, kind string, object, old map[string]any) []byte {
	tb.Helper()
	version := object["apiVersion"].(string)
	group, _, grouped := strings.Cut(version, "/")
	if !grouped {
		group = ""
	}
	route, ok := admit.KindFor(group, kind)
	if !ok {
		tb.Fatalf("no route for %s", kind)
	}
	metadata := object["metadata"].(map[string]any)
	request := &admissionv1.AdmissionRequest{
		UID:       "5f1d2f3c-0000-4000-8000-000000000001",
		Kind:      metav1.GroupVersionKind{Group: route.Group, Version: route.Versions[0], Kind: kind},
		Resource:  metav1.GroupVersionResource{Group: route.Group, Version: route.Versions[0], Resource: route.Resource},
		Name:      metadata["name"].(string),
		Namespace: metadata["namespace"].(string),
		Operation: admissionv1.Create,
		UserInfo:  authenticationv1.UserInfo{Username: "someone", Groups: []string{"system:authenticated"}},
		Object:    runtime.RawExtension{Raw: encoded(tb, object)},
	}
	if old != nil {
		request.Operation, request.OldObject = admissionv1.Update, runtime.RawExtension{Raw: encoded(tb, old)}
	}
	return encoded(tb, admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
}

func encoded(tb testing.TB, value any) []byte {
	tb.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

// older returns what an object was before one of its labels changed.
func older(o map[string]any) map[string]any {
	old := maps.Clone(o)
	metadata := maps.Clone(o["metadata"].(map[string]any))
	metadata["labels"], old["metadata"] = map[string]any{"app.kubernetes.io/name": "older"}, metadata
	return old
}

// service is a Service as a chart makes it.
func service(namespace, name string) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": metadata(namespace, name),
		"spec": map[string]any{
			"type": "ClusterIP", "clusterIP": "10.255.0.7", "clusterIPs": []any{"10.255.0.7"}, "selector": map[string]any{"app": name},
			"ports": []any{
				map[string]any{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"},
				map[string]any{"name": "grpc", "port": 9090, "targetPort": "grpc", "protocol": "TCP", "appProtocol": "grpc"},
			},
		},
	}
}

// networks is a ServiceEntry for networks outside, on a port that no Service has.
func networks() map[string]any {
	return map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry", "metadata": metadata("open", "databases"),
		"spec": map[string]any{
			"hosts": []any{"databases.example.com"}, "resolution": "NONE", "location": "MESH_EXTERNAL",
			"addresses": []any{"192.168.0.0/16", "172.16.0.0/12", "100.64.0.0/10"},
			"ports":     []any{map[string]any{"number": 5432, "name": "tcp-postgres", "protocol": "TCP"}},
		},
	}
}

// endpointSlice is what a controller of a user writes for a Service without a selector.
func endpointSlice() map[string]any {
	meta := metadata("open", "web-1")
	meta["labels"] = map[string]any{"kubernetes.io/service-name": "web"}
	var endpoints []any
	for i := range 50 {
		endpoints = append(endpoints, map[string]any{"addresses": []any{fmt.Sprintf("192.168.0.%d", i)}, "conditions": map[string]any{"ready": true}})
	}
	return map[string]any{
		"apiVersion": "discovery.k8s.io/v1", "kind": object.KindEndpointSlice, "metadata": meta, "addressType": "IPv4",
		"endpoints": endpoints, "ports": []any{map[string]any{"name": "http", "port": 8080, "protocol": "TCP"}},
	}
}

func metadata(namespace, name string) map[string]any {
	return map[string]any{
		"name": name, "namespace": namespace, "uid": "5f1d2f3c-0000-4000-8000-000000000002",
		"creationTimestamp": "2026-01-01T00:00:00Z",
		"labels":            map[string]any{"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "shop"},
		"annotations":       map[string]any{"description": strings.Repeat("what this object is for; ", 20)},
		"managedFields": []any{map[string]any{
			"manager": "kubectl-client-side-apply", "operation": "Update", "apiVersion": "networking.istio.io/v1", "fieldsType": "FieldsV1",
			"fieldsV1": map[string]any{"f:spec": map[string]any{".": map[string]any{}, "f:hosts": map[string]any{}, "f:http": map[string]any{}}},
		}},
	}
}

// destinationRule has ten subsets with settings of their own; where the host is fenced, none of it is yet.
func destinationRule(namespace, host, version string) map[string]any {
	policy := func() map[string]any {
		return map[string]any{
			"connectionPool": map[string]any{
				"tcp":  map[string]any{"maxConnections": 100, "connectTimeout": "30ms", "tcpKeepalive": map[string]any{"time": "7200s", "interval": "75s"}},
				"http": map[string]any{"http2MaxRequests": 1000, "maxRequestsPerConnection": 10, "maxRetries": 3, "idleTimeout": "30s"},
			},
			"loadBalancer":     map[string]any{"simple": "LEAST_REQUEST", "warmup": map[string]any{"duration": "30s", "aggression": 1.5}},
			"outlierDetection": map[string]any{"consecutive5xxErrors": 7, "interval": "30s", "baseEjectionTime": "60s", "maxEjectionPercent": 50},
			"tls":              map[string]any{"mode": "ISTIO_MUTUAL"},
		}
	}
	var subsets []any
	for i := range 10 {
		subsets = append(subsets, map[string]any{
			"name": fmt.Sprintf("%s-%d", version, i), "labels": map[string]any{"version": fmt.Sprintf("%s-%d", version, i)}, "trafficPolicy": policy(),
		})
	}
	return map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": metadata(namespace, host),
		"spec": map[string]any{"host": host, "trafficPolicy": policy(), "subsets": subsets},
	}
}

// unfencedSubset is a rule that was fenced, and then got one more subset.
func unfencedSubset() map[string]any {
	rule := destinationRule("shop", "reviews", "v1")
	subsets := rule["spec"].(map[string]any)["subsets"].([]any)
	for _, s := range subsets[:len(subsets)-1] {
		s.(map[string]any)["labels"].(map[string]any)[policy.ClusterLabel] = "m1c1"
	}
	rule["spec"].(map[string]any)["subsets"] = append(subsets, map[string]any{
		"name": policy.ReservedSubset, "labels": map[string]any{policy.ClusterLabel: "m1c1"},
	})
	return rule
}

// virtualService has twelve routes with matches, retries and headers, each with one destination, and one for each
// other protocol; only the last of the twelve has another subset than meshfence-local, so that an edit or a refusal is
// about one place.
func virtualService(namespace, host, subset string) map[string]any {
	local := []any{map[string]any{"destination": map[string]any{"host": host, "subset": policy.ReservedSubset}}}
	var routes []any
	for i := range 12 {
		destination := map[string]any{"host": host, "port": map[string]any{"number": 9080}, "subset": "meshfence-local"}
		if i == 11 {
			destination["subset"] = subset
			if subset == "" {
				delete(destination, "subset")
			}
		}
		routes = append(routes, map[string]any{
			"name": fmt.Sprintf("route-%d", i),
			"match": []any{
				map[string]any{"uri": map[string]any{"prefix": fmt.Sprintf("/api/v%d/reviews", i)}, "headers": map[string]any{"x-tenant": map[string]any{"exact": "a"}}},
				map[string]any{"uri": map[string]any{"regex": fmt.Sprintf(`^/legacy/%d/[a-z]+\.html$`, i)}},
			},
			"timeout": "1500ms",
			"retries": map[string]any{"attempts": 3, "perTryTimeout": "500ms", "retryOn": "gateway-error,connect-failure,refused-stream"},
			"headers": map[string]any{"request": map[string]any{"set": map[string]any{"x-route": fmt.Sprintf("route-%d", i), "x-forwarded-by": "mesh"}}},
			"route":   []any{map[string]any{"destination": destination, "weight": 100}},
		})
	}
	return map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": metadata(namespace, host),
		"spec": map[string]any{
			"hosts": []any{host}, "http": routes,
			"tls": []any{map[string]any{"match": []any{map[string]any{"sniHosts": []any{host}}}, "route": local}},
			"tcp": []any{map[string]any{"route": local}},
		},
	}
}
