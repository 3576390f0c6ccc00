package leak

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// EndpointWriters lists the users that keep the endpoints of Services: the API server for its own, and the
// controllers of kube-controller-manager, with and without credentials of their own.
func EndpointWriters() []string {
	return []string{
		"system:apiserver",
		"system:kube-controller-manager",
		"system:serviceaccount:kube-system:endpoint-controller",
		"system:serviceaccount:kube-system:endpointslice-controller",
		"system:serviceaccount:kube-system:endpointslicemirroring-controller",
	}
}

const (
	// What the controllers of Kubernetes call themselves in the label managed-by. They take back a slice of a Service with a
	// selector that only says so; the one that mirrors Endpoints does nothing for such a Service, and in older versions
	// leaves what is there.
	sliceController  = "endpointslice-controller.k8s.io"
	mirrorController = "endpointslicemirroring-controller.k8s.io"
)

// ForeignSlices selects the EndpointSlices of Services of which nothing says that the controller for selectors keeps
// them.
const ForeignSlices = discoveryv1.LabelServiceName + "," + discoveryv1.LabelManagedBy + "!=" + sliceController

// endpointSliceForeignWriter refuses endpoints of a strict Service that somebody else writes than the
// controllers which follow its selector: they count as local whatever their addresses [E1, E2]. Where nobody writes,
// what a slice says of its manager counts.
func endpointSliceForeignWriter() Rule {
	return Rule{
		ID: "endpointslice-foreign-writer",
		Summary: "Endpoints of a strict Service must be written by the controllers of Kubernetes that follow its " +
			"selector.",
		Why: "istiod takes every EndpointSlice and Endpoints object of this API server for endpoints of this " +
			"cluster, whatever their addresses. A hand-written address in another cluster passes every hold.",
		Fix:       "Let the selector of the Service choose Pods.",
		Rows:      []string{"E1", "E2"},
		Kinds:     []string{object.KindEndpointSlice, object.KindEndpoints},
		Severity:  Deny,
		Otherwise: "its addresses receive the host's traffic and pass for local ones",
		Instead:   "let the selector of the Service choose Pods",
		check: func(o Write, view *policy.View) []breach {
			path, host := endpointsOf(o.Object)
			switch {
			case host.Name == "":
				return nil
			case o.Writer != "" && slices.Contains(EndpointWriters(), o.Writer):
				return nil
			case o.Writer == "" && keptByController(o.Object, host, view):
				return nil
			}
			match := view.Match(host.FQDN(view.Config().ClusterDomain))
			if !match.Has(policy.Strict) {
				return nil
			}
			addresses := newAddresses(o)
			if len(addresses) == 0 {
				return nil
			}
			return []breach{{
				path:  path,
				value: host.Name,
				at:    strings.Join(addresses, ","),
				host:  match.Host(policy.Strict),
				must:  fmt.Sprintf("not be the name of a strict Service in what %s writes", cmp.Or(o.Writer, "a user")),
			}}
		},
	}
}

// endpointsOf returns the Service that a slice or Endpoints is for, and where that is said.
func endpointsOf(o *object.Object) (path object.Path, host hostname.Host) {
	if o.EndpointSlice == nil {
		return []string{"metadata", "name"}, hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
	}
	return []string{"metadata", "labels", discoveryv1.LabelServiceName},
		hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Labels[discoveryv1.LabelServiceName]}
}

// newAddresses lists the addresses that the Service did not have in the old object.
func newAddresses(o Write) []string {
	addresses := o.Addresses()
	if o.Before() == nil {
		return addresses
	}
	_, host := endpointsOf(o.Object)
	if _, before := endpointsOf(o.Before()); host != before {
		return addresses
	}
	old := map[string]bool{}
	for _, address := range o.Before().Addresses() {
		old[address] = true
	}
	return slices.DeleteFunc(addresses, func(address string) bool { return old[address] })
}

// keptByController reports whether what is says that a controller of Kubernetes wrote it. The controllers mirror
// no Endpoints but those of a Service without selector, which is refused itself unless hold locality keeps out what has no
// locality: not so an address that is said to be that of a Pod.
func keptByController(o *object.Object, host hostname.Host, view *policy.View) bool {
	switch manager := o.Metadata.Labels[discoveryv1.LabelManagedBy]; {
	case o.Endpoints != nil, manager == sliceController:
		return true
	default:
		return manager == mirrorController && view.ServedByHand(host) && !o.EndpointSlice.ClaimsPods()
	}
}
