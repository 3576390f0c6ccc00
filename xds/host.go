package xds

import (
	"net/netip"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// Host is a host to verify.
type Host struct {
	// FQDN is the name of the Service, such as reviews.default.svc.cluster.local.
	FQDN string
	// Fence is what is promised of it: strict or prefer.
	Fence policy.Fence
	// Addresses and Ports are those of the Service, for clients that istiod tells nothing of it.
	Addresses []netip.Addr
	Ports     []uint16
	// Pods are the addresses of the Pods of a headless one.
	Pods []netip.Addr
}

// clusterHost returns the host whose endpoints a cluster of istiod's holds, and the empty string for others. Names
// are direction|port|subset|host, and direction_.port_.subset_.host for the clusters that an east-west gateway finds
// by SNI (ParseSubsetKey in Istio's pilot/pkg/model/service.go). An inbound cluster is the client's own workload.
func clusterHost(name string) string {
	separator := "|"
	if strings.HasPrefix(name, "outbound_.") {
		separator = "_."
	}
	parts := strings.SplitN(name, separator, 4)
	if len(parts) != 4 || parts[0] == "inbound" {
		return ""
	}
	return parts[3]
}

// aliases returns the host and its name in the cluster set, which istiod serves from the same endpoints where
// ENABLE_MCS_HOST is set (rows F3 and G2).
func aliases(fqdn string) []string {
	parts := strings.SplitN(fqdn, ".", 4)
	if len(parts) != 4 || parts[2] != "svc" {
		return []string{fqdn}
	}
	return []string{fqdn, parts[0] + "." + parts[1] + ".svc.clusterset.local"}
}

// fenced maps every name of every host to verify to its FQDN.
type fenced map[string]string

func newFenced(hosts []Host) fenced {
	f := fenced{}
	for _, host := range hosts {
		for _, alias := range aliases(host.FQDN) {
			f[alias] = host.FQDN
		}
	}
	return f
}

// of returns the host to verify that a cluster belongs to.
func (f fenced) of(cluster string) (fqdn string, ok bool) {
	fqdn, ok = f[clusterHost(cluster)]
	return fqdn, ok
}
