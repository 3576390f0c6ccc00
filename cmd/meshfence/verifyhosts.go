package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/xds"
)

// world returns the hosts to verify, and what is known of their clients: by flags, manifests, or the kubeconfig.
func (f *verifyFlags) world(ctx context.Context, in io.Reader) (*world, error) {
	if len(f.hosts) > 0 {
		hosts, err := parseHosts(f.hosts)
		return &world{hosts: hosts}, err
	}
	if len(f.scene.paths) > 0 {
		return f.ofManifests(in)
	}
	return f.ofCluster(ctx)
}

// parseHosts reads HOST, HOST=IP and HOST=IP:PORT; what is said of one host adds up.
func parseHosts(texts []string) ([]xds.Host, error) {
	var hosts []xds.Host
	for _, text := range texts {
		name, at, given := strings.Cut(text, "=")
		i := slices.IndexFunc(hosts, func(h xds.Host) bool { return h.FQDN == name })
		if i < 0 {
			i = len(hosts)
			hosts = append(hosts, xds.Host{FQDN: name, Fence: policy.Strict})
		}
		if !given {
			continue
		}
		address, err := netip.ParseAddr(at)
		if withPort, portErr := netip.ParseAddrPort(at); portErr == nil {
			address, err = withPort.Addr(), nil
			hosts[i].Ports = append(hosts[i].Ports, withPort.Port())
		}
		if err != nil {
			return nil, fmt.Errorf("--host %q must be HOST, HOST=IP or HOST=IP:PORT", text)
		}
		hosts[i].Addresses = append(hosts[i].Addresses, address)
	}
	return hosts, nil
}
