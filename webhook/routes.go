package webhook

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
)

// The paths that the webhook server answers on.
const (
	MutatePath   = "/mutate"
	ValidatePath = "/validate"
)

// Route says which requests for one kind admission takes: its creation and its changes, or none, where it is but
// stored. The manifests register exactly these.
type Route struct {
	Group string
	// Versions are all versions that share the schema that is read.
	Versions []string
	// Resource is the plural name of the API.
	Resource string
	// Kind is that of package policy, whose name in the API is [policy.APIKind].
	Kind string
	// Mutate and Validate say which of the two paths take the kind.
	Mutate, Validate bool
	// MutateIf and ValidateIf are CEL conditions that keep all but a few requests from reaching a path; empty
	// takes every request.
	MutateIf, ValidateIf string
	// DeleteIf is the condition under which deletions are validated too; empty takes none.
	DeleteIf string
	// StatusIf is the condition under which changes of the status are validated too, by which labels, annotations and
	// addresses may come in; empty takes none.
	StatusIf string
	// Subresources are further ones by which the same may come in, under the same condition.
	Subresources []string
	// Created is another resource by which objects of the kind are created; empty where there is none.
	Created string
	// Stored says that the objects of the kind are kept in the index, because rules relate others to them.
	Stored bool
	// StoredBy is a label selector that keeps all but a few of them out; empty keeps all.
	StoredBy string
}

// Operations lists what a path takes of the kind.
func (r Route) Operations(path string) []admissionv1.Operation {
	switch {
	case path == MutatePath && !r.Mutate || path == ValidatePath && !r.Validate:
		return nil
	case r.Created != "": // it is never changed
		return []admissionv1.Operation{admissionv1.Create}
	case path == ValidatePath && r.DeleteIf != "":
		return []admissionv1.Operation{admissionv1.Create, admissionv1.Update, admissionv1.Delete}
	}
	return []admissionv1.Operation{admissionv1.Create, admissionv1.Update}
}

// statusResource is the subresource that StatusIf is about.
const statusResource = "status"

// Requests lists the operations that a path takes of the kind by their resource, the status among them.
func (r Route) Requests(path string) map[string][]admissionv1.Operation {
	requests := map[string][]admissionv1.Operation{}
	if operations := r.Operations(path); len(operations) > 0 {
		requests[r.Resource] = operations
		if r.Created != "" {
			requests[r.Created] = operations
		}
	}
	if path == ValidatePath && r.StatusIf != "" {
		for _, name := range append([]string{statusResource}, r.Subresources...) {
			requests[r.Resource+"/"+name] = []admissionv1.Operation{admissionv1.Update}
		}
	}
	return requests
}

// selector returns the one that StoredBy says; nil, which selects everything, where there is none.
func (r Route) selector() labels.Selector {
	if r.StoredBy == "" {
		return nil
	}
	selector, err := labels.Parse(r.StoredBy)
	if err != nil {
		return nil
	}
	return selector
}

// Routes returns the routing table. The slices in it are the caller's own.
func Routes() []Route {
	companion := fmt.Sprintf("has(oldObject.metadata.labels) && oldObject.metadata.labels[?%q].orValue('') == %q", inject.ManagedByLabel, inject.ManagedBy)
	routes := []Route{
		{
			Resource: "services", Kind: policy.KindService, Mutate: true, Validate: true,
			DeleteIf: strictOnceGone(),
			StatusIf: changedService(),
		},
		{Resource: "namespaces", Kind: policy.KindNamespace, Validate: true, StatusIf: changedLabels, Subresources: []string{"finalize"}},
		{
			Resource: "configmaps", Kind: policy.KindConfigMap, Mutate: true, Validate: true,
			MutateIf:   fmt.Sprintf("has(object.data) && %q in object.data", inject.MeshConfigKey),
			ValidateIf: fmt.Sprintf("request.name == %q || [object, oldObject].exists(o, o != null && has(o.data) && %q in o.data)", policy.ConfigMapName, inject.MeshConfigKey),
			DeleteIf:   fmt.Sprintf("has(oldObject.data) && %q in oldObject.data", inject.MeshConfigKey),
		},
		{
			Resource: "pods", Kind: policy.KindPod, Validate: true, ValidateIf: claimsPlace(),
			StatusIf: changedLabels + " && " + carries(leak.PodLabels()),
		},
		{Resource: "bindings", Kind: policy.KindBinding, Validate: true, ValidateIf: movesPod(), Created: "pods/binding"},
		{Resource: "endpoints", Kind: policy.KindEndpoints, Validate: true, ValidateIf: foreignWriter()},
		{Resource: "endpointslices", Kind: policy.KindEndpointSlice, Validate: true, ValidateIf: foreignWriter(), Stored: true, StoredBy: leak.ForeignSlices},
		{Resource: "ingresses", Kind: policy.KindIngress, Validate: true, Stored: true},
		{Resource: "ingressclasses", Kind: policy.KindIngressClass, Stored: true},
		{Resource: "destinationrules", Kind: policy.KindDestinationRule, Mutate: true, Validate: true, DeleteIf: companion, Stored: true},
		{Resource: "virtualservices", Kind: policy.KindVirtualService, Mutate: true, Validate: true, DeleteIf: companion, Stored: true},
		{Resource: "serviceentries", Kind: policy.KindServiceEntry, Validate: true, StatusIf: foreignAddress(), Stored: true},
		{Resource: "workloadentries", Kind: policy.KindWorkloadEntry, Validate: true, Stored: true},
		{Resource: "workloadgroups", Kind: policy.KindWorkloadGroup, Validate: true, Stored: true},
		{Resource: "sidecars", Kind: policy.KindSidecar, Validate: true, DeleteIf: "!oldObject.?spec.?workloadSelector.hasValue()", Stored: true},
		{Resource: "gateways", Kind: policy.KindGateway, Validate: true, Stored: true},
		{Resource: "envoyfilters", Kind: policy.KindEnvoyFilter, Validate: true, Stored: true},
		{Resource: "proxyconfigs", Kind: policy.KindProxyConfig, Validate: true, Stored: true},
		{Resource: "wasmplugins", Kind: policy.KindWasmPlugin, Validate: true, Stored: true},
		{Resource: "trafficextensions", Kind: policy.KindTrafficExtension, Validate: true, Stored: true},
		{Resource: "serviceexports", Kind: policy.KindServiceExport, Validate: true, Stored: true},
		{Resource: "httproutes", Kind: policy.KindHTTPRoute, Validate: true, Stored: true},
		{Resource: "grpcroutes", Kind: policy.KindGRPCRoute, Validate: true, Stored: true},
		{Resource: "tcproutes", Kind: policy.KindTCPRoute, Validate: true, Stored: true},
		{Resource: "tlsroutes", Kind: policy.KindTLSRoute, Validate: true, Stored: true},
		{Resource: "backendtlspolicies", Kind: policy.KindBackendTLSPolicy, Validate: true, Stored: true},
		{Resource: "gatewayclasses", Kind: policy.KindGatewayClass, Stored: true},
		{Resource: "gateways", Kind: policy.KindAPIGateway, Stored: true},
	}
	for i, r := range routes {
		routes[i].Group = policy.GroupOf(r.Kind)
		routes[i].Versions = versions(r.Kind)
	}
	return routes
}

// versions lists the versions of a kind that share one schema.
func versions(kind string) []string {
	if kind == policy.KindProxyConfig {
		return []string{"v1beta1"}
	}
	switch policy.GroupOf(kind) {
	case policy.GroupOf(policy.KindVirtualService):
		return []string{"v1", "v1beta1", "v1alpha3"}
	case policy.GroupOf(policy.KindHTTPRoute):
		return []string{"v1", "v1beta1", "v1alpha3", "v1alpha2"}
	case policy.GroupOf(policy.KindServiceExport), policy.GroupOf(policy.KindWasmPlugin):
		return []string{"v1alpha1"}
	}
	return []string{"v1"}
}

// carries is the condition that an object has one of the labels.
func carries(labels []string) string {
	return fmt.Sprintf("has(object.metadata.labels) && object.metadata.labels.exists(l, l in [%s])", quoted(labels))
}

// claimsPlace is the condition that a Pod says where it is.
func claimsPlace() string {
	return carries(leak.PodLabels()) + " || " + claimsCluster()
}

// claimsCluster is the condition that annotations may say what a proxy claims.
func claimsCluster() string {
	return fmt.Sprintf("[%s].exists(a, object.metadata.?annotations[?a].orValue('').matches(%q))", quoted(leak.ProxyAnnotations()), leak.ProxyPattern)
}

// movesPod is the condition that a Binding carries more than a scheduler says of a Pod and than the API server adds of its
// Node (PodTopologyLabels): all labels and annotations of a Binding go over to the Pod.
func movesPod() string {
	return fmt.Sprintf("object.metadata.?labels.orValue({}).exists(l, !(l in [%s])) || %s",
		quoted([]string{corev1.LabelTopologyRegion, corev1.LabelTopologyZone}), claimsCluster())
}

// strictOnceGone is the condition that a Service is strict, or that it may be because of its annotation alone that its
// host is not.
func strictOnceGone() string {
	return fmt.Sprintf("oldObject.metadata.?labels[?%q].orValue('') == %q || oldObject.metadata.?annotations[?%q].orValue('') in [%s]",
		policy.FencedLabel, policy.Strict, policy.FenceKey, quoted([]string{policy.None.String(), policy.Prefer.String()}))
}

// changedLabels is the condition that labels change.
const changedLabels = "object.metadata.?labels.orValue({}) != oldObject.metadata.?labels.orValue({})"

// changedService is the condition that a Service changes in a label or an annotation that is read, or that one which
// stands for a network changes in its addresses.
func changedService() string {
	changed := func(field string, keys []string) string {
		return fmt.Sprintf("[%s].exists(k, object.metadata.?%[2]s[?k] != oldObject.metadata.?%[2]s[?k])", quoted(keys), field)
	}
	return fmt.Sprintf("%s || %s || object.metadata.?labels[?%q].hasValue() && object.?status.?loadBalancer != oldObject.?status.?loadBalancer",
		changed("labels", leak.ServiceLabels()), changed("annotations", leak.ServiceAnnotations()), leak.NetworkLabel)
}

// foreignAddress is the condition that the status of a ServiceEntry gets addresses that istiod does not allocate by
// itself (v4Prefix and v6Prefix in Istio's pilot/pkg/serviceregistry/serviceentry/autoallocate.go).
func foreignAddress() string {
	return "object.?status.?addresses != oldObject.?status.?addresses && object.?status.?addresses.orValue([]).exists(a, " +
		`!a.?value.orValue('').startsWith("240.240.") && !a.?value.orValue('').startsWith("2001:2::"))`
}

// foreignWriter is the condition that somebody else writes than the controllers that keep endpoints.
func foreignWriter() string {
	return fmt.Sprintf("!(request.userInfo.username in [%s])", quoted(leak.EndpointWriters()))
}

func quoted(list []string) string {
	texts := make([]string, len(list))
	for i, text := range list {
		texts[i] = strconv.Quote(text)
	}
	return strings.Join(texts, ", ")
}

// RouteFor returns the route of a kind; ok is false for a kind that admission does not take.
func RouteFor(group, kind string) (route Route, ok bool) { return find(Routes(), group, kind) }

func find(routes []Route, group, kind string) (Route, bool) {
	i := slices.IndexFunc(routes, func(r Route) bool { return r.Group == group && r.Kind == policy.KindIn(group, kind) })
	if i < 0 {
		return Route{}, false
	}
	return routes[i], true
}

// takes says whether the route is for a request on a path: its kind and resource, which must agree, and its
// operation.
func (r Route) takes(path string, req admission.Request) bool {
	return slices.Contains(r.Versions, req.Kind.Version) && req.Resource.Group == r.Group && req.Resource.Version == req.Kind.Version &&
		slices.Contains(r.Requests(path)[resourceName(req)], req.Operation)
}
