package xds

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshfence/meshfence"
)

// Kind is the kind of proxy that a client is.
type Kind string

const (
	// Sidecar is the proxy beside a workload.
	Sidecar Kind = "sidecar"
	// Gateway is an ingress, egress or east-west gateway.
	Gateway Kind = "gateway"
)

// What a proxy says of itself unless told otherwise. No Pod has the address, which is reserved for documentation,
// so that istiod does not take the proxy for one of its workloads.
const (
	defaultAddress = "192.0.2.1"
	defaultDomain  = "cluster.local"
)

// Proxy describes the client whose configuration is asked for.
type Proxy struct {
	// Cluster is the id of the cluster that the client is in.
	Cluster string
	Kind    Kind
	// Namespace is the client's: Istio objects there apply to it, and a token must be of a ServiceAccount in it.
	Namespace string
	// Network is the client's Istio network; empty where the mesh has one network.
	Network string
	// IP is the client's address. Where it is that of a Pod, istiod takes labels and locality from the Pod.
	IP string
	// Labels are those of the client's Pod. Gateways, and many an Istio object, select by them.
	Labels map[string]string
	// Locality is region, region/zone or region/zone/subzone; hold locality depends on it.
	Locality string
	// DNSCapture reports whether the client's agent answers DNS queries from istiod's name table.
	DNSCapture bool
	// Domain is the DNS domain of Services; cluster.local unless set.
	Domain string
	// Version is the Istio version that the client claims, the one of go.mod unless set; EnvoyFilters can depend on it.
	Version string
}

// validate reports every field that istiod would refuse.
func (p Proxy) validate() error {
	var errs []error
	if p.Cluster == "" {
		errs = append(errs, errors.New("proxy: cluster must be set"))
	}
	if p.Namespace == "" {
		errs = append(errs, errors.New("proxy: namespace must be set"))
	}
	if p.Kind != Sidecar && p.Kind != Gateway {
		errs = append(errs, fmt.Errorf("proxy: kind %q must be sidecar or gateway", p.Kind))
	}
	if _, err := netip.ParseAddr(p.IP); p.IP != "" && err != nil {
		errs = append(errs, fmt.Errorf("proxy: ip %q must be an address", p.IP))
	}
	if strings.Count(p.Locality, "/") > 2 {
		errs = append(errs, fmt.Errorf("proxy: locality %q must be region/zone/subzone", p.Locality))
	}
	return errors.Join(errs...)
}

// node returns what Envoy's bootstrap would say (NodeMetadata in Istio's pkg/model/proxy.go). There is no
// GENERATOR, which would ask for the resources of a proxyless client.
func (p Proxy) node() (*corev3.Node, error) {
	ip := cmp.Or(p.IP, defaultAddress)
	labels := map[string]any{}
	for key, value := range p.Labels {
		labels[key] = value
	}
	fields := map[string]any{
		"CLUSTER_ID":    p.Cluster,
		"INSTANCE_IPS":  ip,
		"ISTIO_VERSION": cmp.Or(p.Version, meshfence.IstioVersion()),
		"LABELS":        labels,
		"NAME":          "meshfence-verify",
		"NAMESPACE":     p.Namespace,
	}
	if p.Network != "" {
		fields["NETWORK"] = p.Network
	}
	if p.DNSCapture {
		fields["DNS_CAPTURE"] = "true"
	}
	metadata, err := structpb.NewStruct(fields)
	if err != nil {
		return nil, fmt.Errorf("encode node metadata: %w", err)
	}
	nodeType := "sidecar"
	if p.Kind == Gateway {
		nodeType = "router"
	}
	domain := p.Namespace + ".svc." + cmp.Or(p.Domain, defaultDomain)
	node := &corev3.Node{
		Id:       strings.Join([]string{nodeType, ip, "meshfence-verify." + p.Namespace, domain}, "~"),
		Metadata: metadata,
	}
	if p.Locality != "" {
		parts := append(strings.Split(p.Locality, "/"), "", "")
		node.Locality = &corev3.Locality{Region: parts[0], Zone: parts[1], SubZone: parts[2]}
	}
	return node, nil
}
