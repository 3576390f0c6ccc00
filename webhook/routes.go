package webhook

import (
	"slices"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
)

// routes say what a path takes, by the table of kinds.
type routes struct {
	path  string
	kinds map[schema.GroupKind]route
}

// route is what a path takes of a kind.
type route struct {
	// kind is the label of the kind in metrics.
	kind     string
	versions []string
	requests map[string][]admissionv1.Operation
}

func newRoutes(path string) routes {
	r := routes{path, map[schema.GroupKind]route{}}
	for _, k := range admit.Kinds() {
		r.kinds[schema.GroupKind{Group: k.Group, Kind: object.APIKind(k.Kind)}] = route{k.Kind, k.Versions, k.Requests(path)}
	}
	return r
}

func (r routes) find(req admission.Request) (found route, ok bool) {
	found, ok = r.kinds[schema.GroupKind{Group: req.Kind.Group, Kind: req.Kind.Kind}]
	return found, ok
}

// take reports whether the path takes a request: its kind and resource, which must agree, and its operation.
func (r routes) take(req admission.Request) bool {
	found, ok := r.find(req)
	return ok && slices.Contains(found.versions, req.Kind.Version) &&
		req.Resource.Group == req.Kind.Group && req.Resource.Version == req.Kind.Version &&
		slices.Contains(found.requests[resourceName(req)], req.Operation)
}

// kindLabel returns the label of the kind of a request in metrics.
func (r routes) kindLabel(req admission.Request) string {
	if found, ok := r.find(req); ok {
		return found.kind
	}
	return other
}

func resourceName(req admission.Request) string {
	name := req.Resource.Resource
	if req.SubResource != "" {
		name += "/" + req.SubResource
	}
	return name
}
