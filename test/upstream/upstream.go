package upstream

import (
	"maps"

	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	proxy "istio.io/api/networking/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	clientextensions "istio.io/client-go/pkg/apis/extensions/v1alpha1"
	clientnetworking "istio.io/client-go/pkg/apis/networking/v1alpha3"
	clientproxy "istio.io/client-go/pkg/apis/networking/v1beta1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Objects returns for each kind an object of the upstream type in which every field that a view reads is set.
func Objects() map[string]any {
	all := map[string]any{}
	for _, group := range []map[string]any{coreObjects(), trafficObjects(), workloadObjects(), routeObjects()} {
		maps.Copy(all, group)
	}
	return all
}

func metadata() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:   "shop",
		Name:        "cart",
		UID:         "1",
		Labels:      map[string]string{"app": "cart"},
		Annotations: map[string]string{policy.FenceKey: "strict", object.ExportToAnnotation: "shop, prod"},
		OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "v1", Kind: "ConfigMap", Name: "other"},
			{APIVersion: "flagger.app/v1beta1", Kind: "Canary", Name: "cart", Controller: new(true)},
		},
	}
}

func coreObjects() map[string]any {
	meta, slice := metadata(), metadata()
	slice.Labels[discoveryv1.LabelServiceName] = slice.Name
	return map[string]any{
		object.KindNamespace: &corev1.Namespace{ObjectMeta: meta},
		object.KindPod:       &corev1.Pod{ObjectMeta: meta},
		object.KindBinding:   &corev1.Binding{ObjectMeta: meta},
		object.KindConfigMap: &corev1.ConfigMap{ObjectMeta: meta, Data: map[string]string{"mesh": "{}"}},
		object.KindService: &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeExternalName, ExternalName: "example.com",
			Selector:  map[string]string{"app": "cart"},
			ClusterIP: "10.0.0.1", ClusterIPs: []string{"10.0.0.1", "fd00::1"},
			Ports:       []corev1.ServicePort{{Port: 9080, Name: "web", Protocol: corev1.ProtocolTCP, AppProtocol: new("http")}},
			ExternalIPs: []string{"192.0.2.1"},
		}, Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{
			Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.2", Hostname: "lb.example.com"}},
		}}},
		//nolint:staticcheck // deprecated, and still there to be written
		object.KindEndpoints: &corev1.Endpoints{ObjectMeta: meta, Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: "10.1.0.1"}}, NotReadyAddresses: []corev1.EndpointAddress{{IP: "10.1.0.2"}},
		}}},
		object.KindEndpointSlice: &discoveryv1.EndpointSlice{ObjectMeta: slice, Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.1.0.1"}, TargetRef: &corev1.ObjectReference{Kind: object.KindPod, Namespace: "shop", Name: "cart-0"}},
		}},
		// The API of ServiceExports is not among the dependencies. Its spec is not read.
		object.KindServiceExport: &metav1.PartialObjectMetadata{ObjectMeta: meta},
	}
}

func trafficPolicy() *networking.TrafficPolicy {
	balancer := &networking.LoadBalancerSettings{
		LbPolicy: &networking.LoadBalancerSettings_Simple{Simple: networking.LoadBalancerSettings_PASSTHROUGH},
		LocalityLbSetting: &networking.LocalityLoadBalancerSetting{
			Enabled:          wrapperspb.Bool(true),
			Distribute:       []*networking.LocalityLoadBalancerSetting_Distribute{{From: "r1/*", To: map[string]uint32{"r1": 100}}},
			Failover:         []*networking.LocalityLoadBalancerSetting_Failover{{From: "r1", To: "r2"}},
			FailoverPriority: []string{"topology.istio.io/cluster"},
		},
		ZoneAwareLbSetting: &networking.ZoneAwareLoadBalancerSetting{Enabled: wrapperspb.Bool(true)},
	}
	outlier := &networking.OutlierDetection{Consecutive_5XxErrors: wrapperspb.UInt32(5)}
	return &networking.TrafficPolicy{
		LoadBalancer:     balancer,
		OutlierDetection: outlier,
		PortLevelSettings: []*networking.TrafficPolicy_PortTrafficPolicy{{
			Port: &networking.PortSelector{Number: 9080}, LoadBalancer: balancer, OutlierDetection: outlier,
		}},
		Tunnel: &networking.TrafficPolicy_TunnelSettings{Protocol: "CONNECT", TargetHost: "example.com", TargetPort: 443},
	}
}

func destination() *networking.Destination {
	return &networking.Destination{Host: "cart", Subset: "v1", Port: &networking.PortSelector{Number: 9080}}
}

func trafficObjects() map[string]any {
	meta, traffic, destination := metadata(), trafficPolicy(), destination()
	labels := map[string]string{"app": "till"}
	headers := &networking.Headers{Request: &networking.Headers_HeaderOperations{
		Set: map[string]string{"Host": "example.com"}, Add: map[string]string{"Host": "example.com"},
	}}
	routes := []*networking.RouteDestination{{Destination: destination, Weight: 100}}
	exact := &networking.StringMatch{MatchType: &networking.StringMatch_Exact{Exact: "x"}}
	exacts := map[string]*networking.StringMatch{"x": exact}
	return map[string]any{
		object.KindDestinationRule: &clientnetworking.DestinationRule{ObjectMeta: meta, Spec: networking.DestinationRule{
			Host:             "cart",
			TrafficPolicy:    traffic,
			Subsets:          []*networking.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}, TrafficPolicy: traffic}},
			ExportTo:         []string{"."},
			WorkloadSelector: &istiotype.WorkloadSelector{MatchLabels: labels},
		}},
		object.KindVirtualService: &clientnetworking.VirtualService{ObjectMeta: meta, Spec: networking.VirtualService{
			Hosts:    []string{"cart"},
			Gateways: []string{"mesh"},
			ExportTo: []string{"."},
			Http: []*networking.HTTPRoute{{
				Name: "all",
				Match: []*networking.HTTPMatchRequest{{
					Name: "all", Port: 9080, Gateways: []string{"mesh"}, SourceLabels: labels, SourceNamespace: "shop",
					Uri: exact, Scheme: exact, Method: exact, Authority: exact,
					Headers: exacts, WithoutHeaders: exacts, QueryParams: exacts,
				}},
				Route:    []*networking.HTTPRouteDestination{{Destination: destination, Weight: 100, Headers: headers}},
				Headers:  headers,
				Redirect: &networking.HTTPRedirect{Uri: "/", Authority: "example.com"},
				Rewrite:  &networking.HTTPRewrite{Uri: "/", Authority: "example.com"},
				Mirror:   destination,
				Mirrors:  []*networking.HTTPMirrorPolicy{{Destination: destination}},
				Delegate: &networking.Delegate{Name: "more", Namespace: "shop"},
			}},
			Tcp: []*networking.TCPRoute{{Route: routes, Match: []*networking.L4MatchAttributes{{
				DestinationSubnets: []string{"10.0.0.0/8"}, Port: 9080, Gateways: []string{"mesh"}, SourceLabels: labels, SourceNamespace: "shop",
			}}}},
			Tls: []*networking.TLSRoute{{Route: routes, Match: []*networking.TLSMatchAttributes{{
				SniHosts: []string{"cart"}, DestinationSubnets: []string{"10.0.0.0/8"}, Port: 9080, Gateways: []string{"mesh"},
				SourceLabels: labels, SourceNamespace: "shop",
			}}}},
		}},
		object.KindSidecar: &clientnetworking.Sidecar{ObjectMeta: meta, Spec: networking.Sidecar{
			WorkloadSelector: &networking.WorkloadSelector{Labels: labels},
			Ingress:          []*networking.IstioIngressListener{{DefaultEndpoint: "127.0.0.1:8080"}},
			Egress: []*networking.IstioEgressListener{{
				Port: &networking.SidecarPort{Number: 9080, Name: "http", Protocol: "HTTP"}, Bind: "10.0.0.1",
				CaptureMode: networking.CaptureMode_NONE, Hosts: []string{"./*"},
			}},
			OutboundTrafficPolicy: &networking.OutboundTrafficPolicy{
				Mode: networking.OutboundTrafficPolicy_ALLOW_ANY, EgressProxy: destination,
			},
		}},
		object.KindProxyConfig: &clientproxy.ProxyConfig{ObjectMeta: meta, Spec: proxy.ProxyConfig{
			EnvironmentVariables: map[string]string{"key": "value"},
		}},
		object.KindGateway: &clientnetworking.Gateway{ObjectMeta: meta, Spec: networking.Gateway{
			Selector: labels,
			Servers: []*networking.Server{{
				Port:  &networking.Port{Number: 15443, Protocol: "TLS", Name: "tls"},
				Hosts: []string{"*.local"},
				Tls:   &networking.ServerTLSSettings{Mode: networking.ServerTLSSettings_AUTO_PASSTHROUGH},
			}},
		}},
		object.KindEnvoyFilter: &clientnetworking.EnvoyFilter{ObjectMeta: meta, Spec: networking.EnvoyFilter{
			ConfigPatches: []*networking.EnvoyFilter_EnvoyConfigObjectPatch{{
				ApplyTo: networking.EnvoyFilter_CLUSTER,
				Patch:   &networking.EnvoyFilter_Patch{Operation: networking.EnvoyFilter_Patch_MERGE, Value: &structpb.Struct{}},
			}},
		}},
		object.KindWasmPlugin: &clientextensions.WasmPlugin{ObjectMeta: meta, Spec: extensions.WasmPlugin{
			Match: []*extensions.WasmPlugin_TrafficSelector{{Mode: istiotype.WorkloadMode_SERVER}},
		}},
		object.KindTrafficExtension: &clientextensions.TrafficExtension{ObjectMeta: meta, Spec: extensions.TrafficExtension{
			Match: []*extensions.TrafficSelector{{Mode: istiotype.WorkloadMode_SERVER}},
		}},
	}
}

func workloadObjects() map[string]any {
	meta := metadata()
	workload := &networking.WorkloadEntry{
		Address: "10.1.0.1", Labels: map[string]string{"app": "cart"}, Network: "n1", Locality: "r1/z1", Ports: map[string]uint32{"http": 9080},
	}
	return map[string]any{
		object.KindServiceEntry: &clientnetworking.ServiceEntry{ObjectMeta: meta, Spec: networking.ServiceEntry{
			Hosts:            []string{"example.com"},
			Addresses:        []string{"10.0.0.1"},
			Ports:            []*networking.ServicePort{{Number: 9080, Name: "http", Protocol: "HTTP"}},
			Location:         networking.ServiceEntry_MESH_INTERNAL,
			Resolution:       networking.ServiceEntry_STATIC,
			Endpoints:        []*networking.WorkloadEntry{workload},
			WorkloadSelector: &networking.WorkloadSelector{Labels: map[string]string{"app": "cart"}},
			ExportTo:         []string{"."},
		}, Status: networking.ServiceEntryStatus{Addresses: []*networking.ServiceEntryAddress{{Host: "example.com", Value: "240.240.0.1"}}}},
		object.KindWorkloadEntry: &clientnetworking.WorkloadEntry{ObjectMeta: meta, Spec: *workload.DeepCopy()},
		object.KindWorkloadGroup: &clientnetworking.WorkloadGroup{ObjectMeta: meta, Spec: networking.WorkloadGroup{
			Metadata: &networking.WorkloadGroup_ObjectMeta{Labels: map[string]string{"app": "cart"}},
			Template: workload,
		}},
	}
}

func routeObjects() map[string]any {
	meta := metadata()
	backend := gatewayv1.BackendObjectReference{
		Group: new(gatewayv1.Group("multicluster.x-k8s.io")), Kind: new(gatewayv1.Kind("ServiceImport")),
		Namespace: new(gatewayv1.Namespace("shop")), Name: "cart", Port: new(gatewayv1.PortNumber(9080)),
	}
	common := gatewayv1.CommonRouteSpec{ParentRefs: []gatewayv1.ParentReference{{
		Group: new(gatewayv1.Group("gateway.networking.k8s.io")), Kind: new(gatewayv1.Kind("Gateway")),
		Namespace: new(gatewayv1.Namespace("shop")), Name: "front", Port: new(gatewayv1.PortNumber(80)),
	}}}
	mirror := &gatewayv1.HTTPRequestMirrorFilter{BackendRef: backend}
	hostname := new(gatewayv1.PreciseHostname("www.example.com"))
	httpFilters := []gatewayv1.HTTPRouteFilter{{ // nobody can write all in one, which is no matter here
		Type: gatewayv1.HTTPRouteFilterRequestMirror, RequestMirror: mirror,
		RequestRedirect: &gatewayv1.HTTPRequestRedirectFilter{Hostname: hostname},
	}}
	grpcFilters := []gatewayv1.GRPCRouteFilter{{Type: gatewayv1.GRPCRouteFilterRequestMirror, RequestMirror: mirror}}
	ref := gatewayv1.BackendRef{BackendObjectReference: backend, Weight: new(int32(10))}
	hostnames := []gatewayv1.Hostname{"www.example.com"}
	service := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "cart"}}
	return map[string]any{
		object.KindHTTPRoute: &gatewayv1.HTTPRoute{ObjectMeta: meta, Spec: gatewayv1.HTTPRouteSpec{
			CommonRouteSpec: common, Hostnames: hostnames,
			Rules: []gatewayv1.HTTPRouteRule{{
				Filters: httpFilters, BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: ref, Filters: httpFilters}},
			}},
		}},
		object.KindGRPCRoute: &gatewayv1.GRPCRoute{ObjectMeta: meta, Spec: gatewayv1.GRPCRouteSpec{
			CommonRouteSpec: common, Hostnames: hostnames,
			Rules: []gatewayv1.GRPCRouteRule{{
				Filters: grpcFilters, BackendRefs: []gatewayv1.GRPCBackendRef{{BackendRef: ref, Filters: grpcFilters}},
			}},
		}},
		object.KindTCPRoute: &gatewayv1.TCPRoute{ObjectMeta: meta, Spec: gatewayv1.TCPRouteSpec{
			CommonRouteSpec: common, Rules: []gatewayv1.TCPRouteRule{{BackendRefs: []gatewayv1.BackendRef{ref}}},
		}},
		object.KindTLSRoute: &gatewayv1.TLSRoute{ObjectMeta: meta, Spec: gatewayv1.TLSRouteSpec{
			CommonRouteSpec: common, Hostnames: hostnames, Rules: []gatewayv1.TLSRouteRule{{BackendRefs: []gatewayv1.BackendRef{ref}}},
		}},
		object.KindBackendTLSPolicy: &gatewayv1.BackendTLSPolicy{ObjectMeta: meta, Spec: gatewayv1.BackendTLSPolicySpec{
			TargetRefs: []gatewayv1.LocalPolicyTargetReferenceWithSectionName{{
				LocalPolicyTargetReference: gatewayv1.LocalPolicyTargetReference{Group: "gateway.networking.x-k8s.io", Kind: "XBackend", Name: "cart"},
				SectionName:                new(gatewayv1.SectionName("http")),
			}},
		}},
		object.KindIngressClass: &networkingv1.IngressClass{ObjectMeta: meta, Spec: networkingv1.IngressClassSpec{Controller: "example.com/it"}},
		object.KindGatewayClass: &gatewayv1.GatewayClass{ObjectMeta: meta, Spec: gatewayv1.GatewayClassSpec{ControllerName: "example.com/it"}},
		object.KindAPIGateway: &gatewayv1.Gateway{ObjectMeta: meta, Spec: gatewayv1.GatewaySpec{
			GatewayClassName: "it", Addresses: []gatewayv1.GatewaySpecAddress{{Type: new(gatewayv1.HostnameAddressType), Value: "it"}},
			Listeners: []gatewayv1.Listener{{
				Port: 15443, Protocol: gatewayv1.TLSProtocolType,
				TLS: &gatewayv1.ListenerTLSConfig{Options: map[gatewayv1.AnnotationKey]gatewayv1.AnnotationValue{"it": "is"}},
			}},
		}},
		object.KindIngress: &networkingv1.Ingress{ObjectMeta: meta, Spec: networkingv1.IngressSpec{
			IngressClassName: new("it"), DefaultBackend: &service,
			Rules: []networkingv1.IngressRule{{IngressRuleValue: networkingv1.IngressRuleValue{
				HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{Backend: service}}},
			}}},
		}},
	}
}
