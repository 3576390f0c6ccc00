package xds

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
)

// facts are what a snapshot tells about hosts to verify, by FQDN.
type facts map[string]*fact

type fact struct {
	// names are those of the name table for the host and its Pods, sorted; addresses are theirs.
	names     []string
	addresses []netip.Addr
	ports     []uint16
	// snis are the names outbound_.port_.subset_.host by which an east-west gateway knows its subsets.
	snis []string
	// clusters are Envoy's of the host and of its other names, sorted.
	clusters []string
	// headless reports whether the addresses are those of Pods.
	headless bool
}

func (f facts) of(host string) *fact {
	if f[host] == nil {
		f[host] = &fact{}
	}
	return f[host]
}

// gather reads clusters and the name table once for all hosts.
func gather(s *Snapshot, hosts fenced) facts {
	f := facts{}
	for _, name := range slices.Sorted(maps.Keys(s.Clusters)) {
		host, ok := hosts.of(name)
		if !ok {
			continue
		}
		of := f.of(host)
		of.clusters = append(of.clusters, name)
		parts := strings.Split(name, "|")
		if len(parts) != 4 || parts[0] != "outbound" {
			continue
		}
		of.headless = of.headless || s.Clusters[name].GetType() == clusterv3.Cluster_ORIGINAL_DST
		if port, err := strconv.ParseUint(parts[1], 10, 16); err == nil {
			of.ports = append(of.ports, uint16(port))
			of.snis = append(of.snis, fmt.Sprintf("outbound_.%d_.%s_.%s", port, parts[2], parts[3]))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Names)) {
		_, above, _ := strings.Cut(name, ".")
		for _, of := range []string{name, above} {
			host, ok := hosts[of]
			if !ok {
				continue
			}
			f.of(host).names = append(f.of(host).names, name)
			f.of(host).addresses = append(f.of(host).addresses, parseAddresses(s.Names[name])...)
		}
	}
	return f
}

// Learn returns the hosts with the addresses and ports that this client is told, where they have none: for clients that
// are told nothing.
func (s *Snapshot) Learn(hosts []Host) []Host {
	facts := gather(s, newFenced(hosts))
	learned := make([]Host, len(hosts))
	for i, host := range hosts {
		if of := facts[host.FQDN]; of != nil {
			if len(host.Ports) == 0 {
				host.Ports = of.ports
			}
			switch {
			case len(host.Addresses)+len(host.Pods) > 0:
			case of.headless:
				host.Pods = of.addresses
			default:
				host.Addresses = of.addresses
			}
		}
		learned[i] = host
	}
	return learned
}

// union returns what either list has, sorted.
func union[T comparable](a, b []T, compare func(T, T) int) []T {
	all := slices.Concat(a, b)
	slices.SortFunc(all, compare)
	return slices.Compact(all)
}
