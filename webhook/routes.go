package webhook

import (
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
)

// The paths that the webhook server answers on.
const (
	MutatePath   = "/mutate"
	ValidatePath = "/validate"
)

// KindConfigMap is the kind of the objects that hold the FenceConfig and the mesh config.
const KindConfigMap = "ConfigMap"

// Route says which requests for one kind admission takes. The manifests register exactly these.
type Route struct {
	Group string
	// Versions are all versions that share the schema that is read.
	Versions []string
	// Resource is the plural name of the API.
	Resource string
	Kind     string
	// Operations are those that are taken.
	Operations []admissionv1.Operation
	// Mutate and Validate say which of the two paths take the kind.
	Mutate, Validate bool
	// MutateIf and ValidateIf are CEL conditions that keep all but a few requests from reaching a path; empty
	// takes every request.
	MutateIf, ValidateIf string
}

// Routes returns the routing table. The slices in it are the caller's own.
func Routes() []Route {
	const istio = "networking.istio.io"
	versions := func() []string { return []string{"v1", "v1beta1", "v1alpha3"} }
	core := func() []string { return []string{"v1"} }
	writes := func() []admissionv1.Operation { return []admissionv1.Operation{admissionv1.Create, admissionv1.Update} }
	return []Route{
		{Versions: core(), Resource: "services", Kind: policy.KindService, Operations: writes(), Mutate: true, Validate: true},
		{Versions: core(), Resource: "namespaces", Kind: policy.KindNamespace, Operations: writes(), Validate: true},
		{Group: istio, Versions: versions(), Resource: "destinationrules", Kind: policy.KindDestinationRule, Operations: writes(), Mutate: true, Validate: true},
		{Group: istio, Versions: versions(), Resource: "virtualservices", Kind: policy.KindVirtualService, Operations: writes(), Mutate: true, Validate: true},
		{Group: istio, Versions: versions(), Resource: "serviceentries", Kind: policy.KindServiceEntry, Operations: writes(), Validate: true},
		{
			Versions: core(), Resource: "configmaps", Kind: KindConfigMap, Operations: writes(), Mutate: true, Validate: true,
			MutateIf:   fmt.Sprintf("has(object.data) && %q in object.data", inject.MeshConfigKey),
			ValidateIf: fmt.Sprintf("request.name == %q", policy.ConfigMapName),
		},
	}
}

// RouteFor returns the route of a kind; ok is false for a kind that admission does not take.
func RouteFor(group, kind string) (route Route, ok bool) { return find(Routes(), group, kind) }

func find(routes []Route, group, kind string) (Route, bool) {
	i := slices.IndexFunc(routes, func(r Route) bool { return r.Group == group && r.Kind == kind })
	if i < 0 {
		return Route{}, false
	}
	return routes[i], true
}

// takes says whether the route is for that kind and resource, which must agree, and for that operation.
func (r Route) takes(kind metav1.GroupVersionKind, resource metav1.GroupVersionResource, operation admissionv1.Operation) bool {
	return slices.Contains(r.Versions, kind.Version) &&
		resource == metav1.GroupVersionResource{Group: r.Group, Version: kind.Version, Resource: r.Resource} &&
		slices.Contains(r.Operations, operation)
}
