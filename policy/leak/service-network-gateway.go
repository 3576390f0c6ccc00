package leak

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// gatewayPortLabel is the port on which a Service with a network label takes what is for that network.
const gatewayPortLabel = "networking.istio.io/gatewayPort"

// The ports on which istiod takes a Service for a gateway by itself: those of mutual TLS and of ambient mode
// (getGatewayDetails in Istio's pilot/pkg/serviceregistry/kube/controller/network.go).
const (
	gatewayPort = 15443
	hbonePort   = 15008
)

// serviceNetworkGateway refuses a Service that makes addresses which somebody wrote by hand the gateway of this
// cluster's network: whoever is in another network is sent there for every local endpoint [E19]. That of another
// network stands for no endpoint of a strict host, and that of the mesh itself is in an exempt Namespace. A Gateway of the
// Gateway API does the same by its label and its addresses; those of other networks are ordinary, so that one is judged where
// the FenceConfig says what network this is.
func serviceNetworkGateway() Rule {
	return Rule{
		ID:      "service-network-gateway",
		Summary: "A Service or Gateway must not make hand-written addresses the gateway of this cluster's network.",
		Why: "A Service, or a Gateway of the Gateway API, with the label topology.istio.io/network is a gateway of that network. Clients of other " +
			"networks are sent to its addresses in place of every endpoint here. Addresses that somebody wrote " +
			"by hand may be anywhere.",
		Fix:       "Remove the label, or the addresses. The gateway of the mesh itself belongs into an exempt namespace.",
		Rows:      []string{"E19"},
		Kinds:     []string{object.KindService, object.KindAPIGateway},
		Severity:  Deny,
		Otherwise: "clients of other networks, and gateways, send what is for Pods of this cluster to those addresses",
		Instead:   "remove the label, or the addresses; the gateway of the mesh belongs into an exempt namespace",
		check: func(o Write, view *policy.View) []breach {
			network, config := o.Metadata.Labels[NetworkLabel], view.Config()
			if network == "" || config.Network != "" && network != config.Network {
				return nil
			}
			path, addresses, sure := gatewayAddresses(o, config)
			if len(addresses) == 0 {
				return nil
			}
			host, strict := anyStrict(view)
			if !strict || exempt(o.Metadata.Namespace, config) {
				return nil
			}
			return []breach{{
				path: path, unsure: !sure,
				value: strings.Join(addresses, ","),
				at:    network,
				host:  host,
				must:  fmt.Sprintf("not be written by hand where label %s is %q, which makes a gateway of the %s", NetworkLabel, network, object.APIKind(o.Kind)),
			}}
		},
	}
}

// gatewayAddresses returns the addresses that somebody wrote by hand where clients of other networks find a gateway.
func gatewayAddresses(o Write, config *policy.Config) (path, addresses []string, sure bool) {
	switch {
	case o.APIGateway == nil && isGateway(o.Object):
		return handWritten(o)
	case o.APIGateway == nil || config.Network == "" || !slices.ContainsFunc(o.APIGateway.Listeners, func(l object.Listener) bool { return l.ForNetwork(networkPort(o.Object)) }):
		return nil, nil, false
	}
	for _, address := range o.APIGateway.Addresses {
		if address.Type != "" { // istiod passes over the others
			addresses = append(addresses, address.Value)
		}
	}
	slices.Sort(addresses)
	return []string{"spec", "addresses"}, addresses, true
}

// networkPort returns the port on which a gateway takes what is for its network.
func networkPort(o *object.Object) int64 {
	port, err := strconv.ParseInt(o.Metadata.Labels[gatewayPortLabel], 10, 32)
	if err != nil {
		return gatewayPort
	}
	return port
}

// isGateway reports whether a Service has a port by which istiod takes it for the gateway of a network.
func isGateway(o *object.Object) bool {
	port := networkPort(o)
	return slices.ContainsFunc(o.Service.Ports, func(p object.ServicePort) bool { return p.Port == port || p.Port == hbonePort })
}

// handWritten returns the addresses of a Service that no controller gave it, and where they are. Those of a load
// balancer that were there before may be from a controller.
func handWritten(o Write) (path, addresses []string, sure bool) {
	if len(o.Service.ExternalIPs) > 0 {
		return []string{"spec", "externalIPs"}, slices.Sorted(slices.Values(o.Service.ExternalIPs)), true
	}
	if o.Writer == "" || isController(o.Writer, o.Metadata.Namespace) {
		return nil, nil, false
	}
	addresses = balancers(o.Object)
	sure = o.Before() != nil && !slices.Equal(addresses, balancers(o.Before()))
	return []string{"status", "loadBalancer", "ingress"}, addresses, sure
}

// balancers lists the addresses of a Service's load balancers, sorted.
func balancers(o *object.Object) []string {
	var addresses []string
	for _, ingress := range o.Service.Status.LoadBalancer.Ingress {
		addresses = append(addresses, cmp.Or(ingress.IP, ingress.Hostname))
	}
	slices.Sort(addresses)
	return addresses
}

// isController reports whether a user is a component of the cluster, or the service account of another Namespace: what
// gives Services their load balancers.
func isController(user, namespace string) bool {
	account, ok := strings.CutPrefix(user, "system:serviceaccount:")
	if ok {
		return !strings.HasPrefix(account, namespace+":")
	}
	return strings.HasPrefix(user, "system:")
}
