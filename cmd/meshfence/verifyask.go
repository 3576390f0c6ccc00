package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meshfence/meshfence/xds"
)

// asker asks istiod as one client after another.
type asker struct {
	client   *xds.Client
	flags    *verifyFlags
	rules    xds.Rules
	hosts    []xds.Host
	progress io.Writer
	// learned are the hosts by cluster, with the addresses and ports that clients there have been told.
	learned map[string][]xds.Host
}

// quiet is how many clients are asked without a word.
const quiet = 4

// all returns the reports of all clients, in their order. Where a client does not know a host of which a later one has
// told the address, it is asked again.
func (a *asker) all(ctx context.Context, proxies []xds.Proxy) ([]xds.Report, error) {
	byClient := make([][]xds.Report, len(proxies))
	a.learned = map[string][]xds.Host{}
	for _, again := range []bool{false, true} {
		for i, proxy := range proxies {
			if again && !a.unasked(proxy.Cluster, byClient[i]) {
				continue
			}
			if len(proxies) > quiet {
				fmt.Fprintf(a.progress, "client %d of %d: %s\n", i+1, len(proxies), clientText(proxy))
			}
			reports, err := a.one(ctx, proxy)
			if err != nil {
				return nil, err
			}
			byClient[i] = reports
		}
	}
	return slices.Concat(byClient...), nil
}

func (a *asker) one(ctx context.Context, proxy xds.Proxy) ([]xds.Report, error) {
	snapshot, err := fetch(ctx, a.client, proxy, a.flags.timeout)
	if err != nil {
		return nil, err
	}
	hosts := a.learned[proxy.Cluster]
	if hosts == nil {
		hosts = a.hosts
	}
	hosts = snapshot.Learn(hosts)
	a.learned[proxy.Cluster] = hosts
	return xds.Verify(snapshot, hosts, a.rules), nil
}

// unasked reports whether a client was asked nothing about a host that has an address by now.
func (a *asker) unasked(cluster string, reports []xds.Report) bool {
	for i, report := range reports {
		host := a.learned[cluster][i]
		if !report.Known && report.Probes == 0 && len(host.Ports) > 0 && len(host.Addresses)+len(host.Pods) > 0 {
			return true
		}
	}
	return false
}

func fetch(ctx context.Context, client *xds.Client, proxy xds.Proxy, timeout time.Duration) (*xds.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return client.Fetch(ctx, proxy)
}

// clientText names a client.
func clientText(p xds.Proxy) string {
	text := fmt.Sprintf("%s of %s in %s", p.Kind, p.Cluster, p.Namespace)
	if len(p.Labels) > 0 {
		text += " with " + labelText(p.Labels)
	}
	if p.Network != "" {
		text += " on network " + p.Network
	}
	return text
}

// proxies returns the clients to ask as, and what is not asked.
func (f *verifyFlags) proxies(w *world) (proxies []xds.Proxy, left []string) {
	left = f.leftByFlags(w)
	for _, cluster := range f.clusters {
		var clients []xds.Proxy
		for _, proxy := range slices.Concat(f.sidecars(w), f.gateways(w)) {
			proxy.Cluster, proxy.Domain = cluster, w.domain
			proxy.Network, proxy.Locality = f.networks[cluster], f.localities[cluster]
			clients = append(clients, proxy)
		}
		if len(clients) > f.maxClients {
			left = append(left, fmt.Sprintf("%d more kinds of client in %s, from %s on (--max-clients)",
				len(clients)-f.maxClients, cluster, clientText(clients[f.maxClients])))
			clients = clients[:f.maxClients]
		}
		proxies = append(proxies, clients...)
		proxies = append(proxies, f.otherNetworks(w, clients)...)
	}
	return proxies, left
}

// sidecars returns those of the namespaces that flags name, or else of all that differ.
func (f *verifyFlags) sidecars(w *world) []xds.Proxy {
	if !slices.Contains(f.kinds, string(xds.Sidecar)) {
		return nil
	}
	if f.narrowed || w.clients == nil || len(w.clients.namespaces) == 0 {
		return []xds.Proxy{f.sidecar}
	}
	return w.clients.sidecars(f.sidecar)
}

func (f *verifyFlags) gateways(w *world) []xds.Proxy {
	if !slices.Contains(f.kinds, string(xds.Gateway)) {
		return nil
	}
	if f.narrowed || w.clients == nil {
		return []xds.Proxy{f.gateway}
	}
	return w.clients.gatewaysLike(f.gateway)
}

// otherNetworks returns the first sidecar of a cluster on each network that occurs and is not its own.
func (f *verifyFlags) otherNetworks(w *world, clients []xds.Proxy) []xds.Proxy {
	if w.clients == nil || len(clients) == 0 || clients[0].Kind != xds.Sidecar || f.networks[clients[0].Cluster] != "" {
		return nil
	}
	var others []xds.Proxy
	for _, network := range slices.Sorted(maps.Keys(w.clients.networks)) {
		other := clients[0]
		other.Network = network
		others = append(others, other)
	}
	return others
}

// leftByFlags says what flags leave out, and what nobody knows here.
func (f *verifyFlags) leftByFlags(w *world) []string {
	var left []string
	if w.clients != nil && f.narrowed {
		if more := len(w.clients.sidecars(f.sidecar)) - 1; more > 0 {
			left = append(left, fmt.Sprintf("%d more kinds of sidecar, and gateways, than those of the flags", more))
		}
	}
	if w.clients == nil {
		left = append(left, "other namespaces than those of the flags: --host says nothing about them")
	}
	if len(w.unread) > 0 {
		left = append(left, fmt.Sprintf("clients that %s make different, which the user of the kubeconfig may not list", strings.Join(w.unread, ", ")))
	}
	var pods []string
	for _, host := range slices.Sorted(maps.Keys(w.headless)) {
		if len(w.headless[host]) == 0 {
			pods = append(pods, host)
		}
	}
	if len(pods) > 0 {
		left = append(left, "the Pods of "+strings.Join(pods, ", ")+", which are not known here")
	}
	return left
}
