package object

import (
	"cmp"
	"iter"
	"slices"
	"strconv"

	"k8s.io/utils/ptr"

	"github.com/meshfence/meshfence/policy/hostname"
)

// Route is the part of a Gateway API HTTPRoute, GRPCRoute, TCPRoute or TLSRoute that is read.
type Route struct {
	ParentRefs []Reference `json:"parentRefs"`
	Hostnames  []string    `json:"hostnames"`
	Rules      []RouteRule `json:"rules"`
}

// RouteRule is one rule of a Route.
type RouteRule struct {
	Filters     []RouteFilter  `json:"filters"`
	BackendRefs []RouteBackend `json:"backendRefs"`
}

// RouteBackend is one of several backends of a rule.
type RouteBackend struct {
	Reference
	Filters []RouteFilter `json:"filters"`
	Weight  *int64        `json:"weight"`
}

// RouteFilter is a filter of a rule or of a backend.
type RouteFilter struct {
	RequestMirror   *RequestMirror `json:"requestMirror"`
	RequestRedirect *RouteHostname `json:"requestRedirect"`
}

// RouteHostname is the host that clients are to ask; empty where that stays.
type RouteHostname struct {
	Hostname string `json:"hostname"`
}

// RequestMirror sends a copy of each request to a backend.
type RequestMirror struct {
	BackendRef Reference `json:"backendRef"`
}

// LocalReference names an object of the same Namespace. What an empty group and kind mean depends on the field.
type LocalReference struct {
	Group *string `json:"group"`
	Kind  *string `json:"kind"`
	Name  string  `json:"name"`
}

// Reference names another object; an empty Namespace is that of the object that holds it.
type Reference struct {
	LocalReference
	Namespace string `json:"namespace"`
}

// The groups and the kind of references that are not among the kinds with a view.
const (
	GatewayGroup      = "gateway.networking.k8s.io"
	multiclusterGroup = "multicluster.x-k8s.io"
	IstioGroup        = "networking.istio.io"
	kindServiceImport = "ServiceImport"
	kindHostname      = "Hostname"
)

// clusterSetDomain is the domain of the hosts that stand for Services in all clusters.
const clusterSetDomain = "clusterset.local"

// Is reports whether the reference is to that kind, where a reference without group and kind is to a Service of
// the core group, as backendRefs are.
func (r LocalReference) Is(group, kind string) bool {
	return ptr.Deref(r.Group, "") == group && ptr.Deref(r.Kind, KindService) == kind
}

// Service returns the Service that a reference names; ok is false where it is to something else.
func (r LocalReference) Service(namespace string) (host hostname.Host, ok bool) {
	return hostname.Host{Namespace: namespace, Name: r.Name}, r.Is("", KindService)
}

// Service is that of the LocalReference in the Namespace that the reference names.
func (r Reference) Service(namespace string) (host hostname.Host, ok bool) {
	return r.LocalReference.Service(cmp.Or(r.Namespace, namespace))
}

// Import returns the Service that a reference names as it is in all clusters, by its ServiceImport or by its host in
// the cluster set; ok is false where it is to something else.
func (r Reference) Import(namespace string) (host hostname.Host, ok bool) {
	if name, ok := r.Hostname(); ok {
		return hostname.Parse(hostname.Canonical(name), clusterSetDomain)
	}
	return hostname.Host{Namespace: cmp.Or(r.Namespace, namespace), Name: r.Name}, r.Is(multiclusterGroup, kindServiceImport)
}

// Hostname returns the host that a reference of Istio's kind Hostname names; ok is false where it is to
// something else.
func (r Reference) Hostname() (host string, ok bool) { return r.Name, r.Is(IstioGroup, kindHostname) }

// Parents yields the Services that a Route of the mesh speaks for (GAMMA: a parentRef to a Service), with the
// paths of the references.
func (o *Object) Parents() iter.Seq2[Path, hostname.Host] {
	return func(yield func(Path, hostname.Host) bool) {
		for i, parent := range o.Route.ParentRefs {
			if ptr.Deref(parent.Kind, KindGateway) != KindService || ptr.Deref(parent.Group, GatewayGroup) != "" {
				continue
			}
			host, _ := parent.Service(o.Metadata.Namespace)
			if !yield([]string{"spec", "parentRefs", strconv.Itoa(i)}, host) {
				return
			}
		}
	}
}

// GatewayHostnames lists the names that a Route takes requests for at a Gateway; none where the mesh alone has it. In the
// mesh they count for nothing.
func (o *Object) GatewayHostnames() []string {
	inMesh := func(parent Reference) bool {
		return slices.Contains([]string{KindService, KindServiceEntry}, ptr.Deref(parent.Kind, KindGateway))
	}
	if !slices.ContainsFunc(o.Route.ParentRefs, func(parent Reference) bool { return !inMesh(parent) }) {
		return nil
	}
	return o.Route.Hostnames
}

// Redirects yields the hosts that redirects have clients ask, with their paths.
func (r *Route) Redirects() iter.Seq2[Path, string] {
	return func(yield func(Path, string) bool) {
		for i, rule := range r.Rules {
			for j, f := range rule.Filters {
				path := []string{"spec", "rules", strconv.Itoa(i), "filters", strconv.Itoa(j), "requestRedirect", "hostname"}
				if f.RequestRedirect != nil && f.RequestRedirect.Hostname != "" && !yield(path, f.RequestRedirect.Hostname) {
					return
				}
			}
		}
	}
}

// Backends yields every reference that a Route sends requests to, mirrors included, with its path, in the order
// of the object. Istio leaves out a backend whose weight is 0 (buildHTTPDestination in its
// pilot/pkg/config/kube/gateway/conversion.go).
func (r *Route) Backends() iter.Seq2[Path, Reference] {
	return func(yield func(Path, Reference) bool) {
		for i, rule := range r.Rules {
			at := []string{"spec", "rules", strconv.Itoa(i)}
			if !yieldMirrors(yield, at, rule.Filters) {
				return
			}
			for j, backend := range rule.BackendRefs {
				if ptr.Deref(backend.Weight, 1) == 0 {
					continue
				}
				at := append(at[:3:3], "backendRefs", strconv.Itoa(j))
				if !yield(at, backend.Reference) || !yieldMirrors(yield, at, backend.Filters) {
					return
				}
			}
		}
	}
}

func yieldMirrors(yield func(Path, Reference) bool, at Path, filters []RouteFilter) bool {
	for i, filter := range filters {
		mirror := slices.Concat(at, []string{"filters", strconv.Itoa(i), "requestMirror", "backendRef"})
		if filter.RequestMirror != nil && !yield(mirror, filter.RequestMirror.BackendRef) {
			return false
		}
	}
	return true
}

// BackendTLSPolicy is the part of a Gateway API BackendTLSPolicy that is read.
type BackendTLSPolicy struct {
	TargetRefs []TargetReference `json:"targetRefs"`
}

// TargetReference names what a policy is for: an object of its own Namespace, or a port of it.
type TargetReference struct {
	LocalReference
	SectionName string `json:"sectionName"`
}
