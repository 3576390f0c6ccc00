package admit

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

// The paths that the webhook server answers on.
const (
	MutatePath   = "/mutate"
	ValidatePath = "/validate"
)

// Kind says which requests for one kind admission takes: its creation and its changes, or none, where it is but
// stored. The manifests register exactly these.
type Kind struct {
	object.Type

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
	// Stored reports whether the objects of the kind are kept in the index, because rules relate others to them.
	Stored bool
	// StoredBy is a label selector that keeps all but a few of them out; empty keeps all.
	StoredBy string
}

// Table is a table of kinds.
type Table []Kind

// Operations lists what a path takes of the kind.
func (k Kind) Operations(path string) []admissionv1.Operation {
	switch {
	case path == MutatePath && !k.Mutate || path == ValidatePath && !k.Validate:
		return nil
	case k.Created != "": // it is never changed
		return []admissionv1.Operation{admissionv1.Create}
	case path == ValidatePath && k.DeleteIf != "":
		return []admissionv1.Operation{admissionv1.Create, admissionv1.Update, admissionv1.Delete}
	}
	return []admissionv1.Operation{admissionv1.Create, admissionv1.Update}
}

// statusResource is the subresource that StatusIf is about.
const statusResource = "status"

// Requests lists the operations that a path takes of the kind by their resource, the status among them.
func (k Kind) Requests(path string) map[string][]admissionv1.Operation {
	requests := map[string][]admissionv1.Operation{}
	if operations := k.Operations(path); len(operations) > 0 {
		requests[k.Resource] = operations
		if k.Created != "" {
			requests[k.Created] = operations
		}
	}
	if path == ValidatePath && k.StatusIf != "" {
		for _, name := range append([]string{statusResource}, k.Subresources...) {
			requests[k.Resource+"/"+name] = []admissionv1.Operation{admissionv1.Update}
		}
	}
	return requests
}

// Selector returns the one that StoredBy says; nil, which selects everything, where there is none.
func (k Kind) Selector() labels.Selector {
	if k.StoredBy == "" {
		return nil
	}
	selector, err := labels.Parse(k.StoredBy)
	if err != nil {
		return nil
	}
	return selector
}

// Kinds returns the routing table. The slices in it are the caller's own.
func Kinds() Table {
	hasMesh := fmt.Sprintf("[object, oldObject].exists(o, o != null && has(o.data) && %q in o.data)", meshconfig.Key)
	companion := fmt.Sprintf("has(oldObject.metadata.labels) && oldObject.metadata.labels[?%q].orValue('') == %q", inject.ManagedByLabel, inject.ManagedBy)
	return Table{
		{Type: typeOf(object.KindService), Mutate: true, Validate: true,
			DeleteIf: strictOnceGone(),
			StatusIf: changedService(),
		},
		{Type: typeOf(object.KindNamespace), Validate: true, StatusIf: changedLabels, Subresources: []string{"finalize"}},
		{Type: typeOf(object.KindConfigMap), Mutate: true, Validate: true,
			MutateIf:   hasMesh,
			ValidateIf: fmt.Sprintf("request.name == %q || %s", policy.ConfigMapName, hasMesh),
			DeleteIf:   fmt.Sprintf("has(oldObject.data) && %q in oldObject.data", meshconfig.Key),
		},
		{Type: typeOf(object.KindPod), Validate: true, ValidateIf: claimsPlace(),
			StatusIf: changedLabels + " && " + carries(leak.PodLabels()),
		},
		{Type: typeOf(object.KindBinding), Validate: true, ValidateIf: movesPod(), Created: "pods/binding"},
		{Type: typeOf(object.KindEndpoints), Validate: true, ValidateIf: foreignWriter()},
		{Type: typeOf(object.KindEndpointSlice), Validate: true, ValidateIf: foreignWriter(), Stored: true, StoredBy: leak.ForeignSlices},
		{Type: typeOf(object.KindIngress), Validate: true, Stored: true},
		{Type: typeOf(object.KindIngressClass), Stored: true},
		{Type: typeOf(object.KindDestinationRule), Mutate: true, Validate: true, DeleteIf: companion, Stored: true},
		{Type: typeOf(object.KindVirtualService), Mutate: true, Validate: true, DeleteIf: companion, Stored: true},
		{Type: typeOf(object.KindServiceEntry), Validate: true, StatusIf: foreignAddress(), Stored: true},
		{Type: typeOf(object.KindWorkloadEntry), Validate: true, Stored: true},
		{Type: typeOf(object.KindWorkloadGroup), Validate: true, Stored: true},
		{Type: typeOf(object.KindSidecar), Validate: true, DeleteIf: "!oldObject.?spec.?workloadSelector.hasValue()", Stored: true},
		{Type: typeOf(object.KindGateway), Validate: true, Stored: true},
		{Type: typeOf(object.KindEnvoyFilter), Validate: true, Stored: true},
		{Type: typeOf(object.KindProxyConfig), Validate: true, Stored: true},
		{Type: typeOf(object.KindWasmPlugin), Validate: true, Stored: true},
		{Type: typeOf(object.KindTrafficExtension), Validate: true, Stored: true},
		{Type: typeOf(object.KindServiceExport), Validate: true, Stored: true},
		{Type: typeOf(object.KindHTTPRoute), Validate: true, Stored: true},
		{Type: typeOf(object.KindGRPCRoute), Validate: true, Stored: true},
		{Type: typeOf(object.KindTCPRoute), Validate: true, Stored: true},
		{Type: typeOf(object.KindTLSRoute), Validate: true, Stored: true},
		{Type: typeOf(object.KindBackendTLSPolicy), Validate: true, Stored: true},
		{Type: typeOf(object.KindGatewayClass), Stored: true},
		{Type: typeOf(object.KindAPIGateway), Validate: true, Stored: true},
	}
}

func typeOf(kind string) object.Type {
	t, _ := object.TypeOf(kind)
	return t
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

// kinds is the table as KindFor looks it up.
//
//nolint:gochecknoglobals // a table that nothing writes
var kinds = Kinds()

// KindFor returns the entry of a kind, whose slices must not be written to; ok is false for a kind that has none.
func KindFor(group, kind string) (entry Kind, ok bool) { return kinds.Find(group, kind) }

// Find returns the entry of a kind; ok is false for a kind that has none.
func (t Table) Find(group, kind string) (entry Kind, ok bool) {
	kind = object.KindIn(group, kind)
	i := slices.IndexFunc(t, func(k Kind) bool { return k.Group == group && k.Kind == kind })
	if i < 0 {
		return Kind{}, false
	}
	return t[i], true
}
