package object

import "slices"

// Type says what the API is like of a kind that has a view. Every kind of Istio's networking group and of the Gateway API
// has one schema in all its versions.
type Type struct {
	// Kind is the name of the kind here, and [APIKind] of it that in the API.
	Kind  string
	Group string
	// Versions are all versions that share the schema that is read, the preferred one first.
	Versions []string
	// Resource is the plural name of the API.
	Resource string
	// ClusterScoped reports whether the objects are in no Namespace.
	ClusterScoped bool

	decode func(data []byte, object *Object) error
}

// types is the table of all kinds. A further kind is an entry here, a view beside it, and an entry in package admit, which
// says what is asked of it.
//
//nolint:gochecknoglobals // a table that nothing writes
var types = func() map[string]Type {
	v1, alpha := []string{"v1"}, []string{"v1alpha1"}
	istio := []string{"v1", "v1beta1", "v1alpha3"}
	gateway := []string{"v1", "v1beta1", "v1alpha3", "v1alpha2"}
	route := into(decode[Route](), func(o *Object) **Route { return &o.Route })
	extension := into(decode[Extension](), func(o *Object) **Extension { return &o.Extension })
	table := map[string]Type{}
	for _, t := range []Type{
		{KindService, "", v1, "services", false, into(decodeService(), func(o *Object) **ServiceSpec { return &o.Service })},
		{KindNamespace, "", v1, "namespaces", true, bare()},
		{KindConfigMap, "", v1, "configmaps", false, into(decodeConfigMap(), func(o *Object) **ConfigMap { return &o.ConfigMap })},
		{KindPod, "", v1, "pods", false, bare()},
		{KindBinding, "", v1, "bindings", false, bare()},
		{KindEndpoints, "", v1, "endpoints", false, into(decodeEndpoints(), func(o *Object) **Endpoints { return &o.Endpoints })},
		{KindEndpointSlice, "discovery.k8s.io", v1, "endpointslices", false, into(decodeEndpointSlice(), func(o *Object) **EndpointSlice { return &o.EndpointSlice })},
		{KindIngress, "networking.k8s.io", v1, "ingresses", false, into(decode[Ingress](), func(o *Object) **Ingress { return &o.Ingress })},
		{KindIngressClass, "networking.k8s.io", v1, "ingressclasses", true, into(decode[IngressClass](), func(o *Object) **IngressClass { return &o.IngressClass })},
		{KindDestinationRule, IstioGroup, istio, "destinationrules", false, into(decode[DestinationRule](), func(o *Object) **DestinationRule { return &o.DestinationRule })},
		{KindVirtualService, IstioGroup, istio, "virtualservices", false, into(decodeVirtualService(), func(o *Object) **VirtualService { return &o.VirtualService })},
		{KindServiceEntry, IstioGroup, istio, "serviceentries", false, into(decodeServiceEntry(), func(o *Object) **ServiceEntry { return &o.ServiceEntry })},
		{KindWorkloadEntry, IstioGroup, istio, "workloadentries", false, into(decode[WorkloadEntry](), func(o *Object) **WorkloadEntry { return &o.WorkloadEntry })},
		{KindWorkloadGroup, IstioGroup, istio, "workloadgroups", false, into(decode[WorkloadGroup](), func(o *Object) **WorkloadGroup { return &o.WorkloadGroup })},
		{KindSidecar, IstioGroup, istio, "sidecars", false, into(decode[Sidecar](), func(o *Object) **Sidecar { return &o.Sidecar })},
		{KindGateway, IstioGroup, istio, "gateways", false, into(decode[Gateway](), func(o *Object) **Gateway { return &o.Gateway })},
		{KindEnvoyFilter, IstioGroup, istio, "envoyfilters", false, into(decode[EnvoyFilter](), func(o *Object) **EnvoyFilter { return &o.EnvoyFilter })},
		{KindProxyConfig, IstioGroup, []string{"v1beta1"}, "proxyconfigs", false, into(decode[ProxyConfig](), func(o *Object) **ProxyConfig { return &o.ProxyConfig })},
		{KindWasmPlugin, extensionGroup, alpha, "wasmplugins", false, extension},
		{KindTrafficExtension, extensionGroup, alpha, "trafficextensions", false, extension},
		{KindServiceExport, multiclusterGroup, alpha, "serviceexports", false, bare()},
		{KindHTTPRoute, GatewayGroup, gateway, "httproutes", false, route},
		{KindGRPCRoute, GatewayGroup, gateway, "grpcroutes", false, route},
		{KindTCPRoute, GatewayGroup, gateway, "tcproutes", false, route},
		{KindTLSRoute, GatewayGroup, gateway, "tlsroutes", false, route},
		{KindBackendTLSPolicy, GatewayGroup, gateway, "backendtlspolicies", false, into(decode[BackendTLSPolicy](), func(o *Object) **BackendTLSPolicy { return &o.BackendTLSPolicy })},
		{KindGatewayClass, GatewayGroup, gateway, "gatewayclasses", true, into(decode[GatewayClass](), func(o *Object) **GatewayClass { return &o.GatewayClass })},
		{KindAPIGateway, GatewayGroup, gateway, "gateways", false, into(decode[APIGateway](), func(o *Object) **APIGateway { return &o.APIGateway })},
	} {
		table[t.Kind] = t
	}
	return table
}()

// TypeOf returns the type of a kind; ok is false for one that has no view.
func TypeOf(kind string) (t Type, ok bool) {
	t, ok = types[kind]
	t.Versions = slices.Clone(t.Versions)
	return t, ok
}

// ClusterScoped reports whether the objects of a kind are in no Namespace.
func ClusterScoped(kind string) bool { return types[kind].ClusterScoped }

// GroupOf returns the API group of a kind that has a view.
func GroupOf(kind string) string { return types[kind].Group }
