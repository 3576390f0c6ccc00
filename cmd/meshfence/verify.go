package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshfence/meshfence/xds"
)

type verifyFlags struct {
	cluster          clusterFlags
	scene            sceneFlags
	istiod           xds.Options
	sidecar, gateway xds.Proxy // the two kinds of client, as each cluster has them
	hosts            []string
	clusters, kinds  []string
	addresses        map[string]string
	networks         map[string]string
	localities       map[string]string
	byName           bool
	timeout          time.Duration
	output           string
}

func newVerify() *cobra.Command {
	f := verifyFlags{sidecar: xds.Proxy{Kind: xds.Sidecar}, gateway: xds.Proxy{Kind: xds.Gateway}}
	command := &cobra.Command{
		Use:   "verify --istiod ADDR --cluster ID...",
		Short: "Ask istiod what it really sends, and follow every path to a fenced host",
		Long: `Ask istiod over xDS, as a sidecar and as a gateway of each cluster, for listeners, routes, clusters and
endpoints, and follow every path that ends at a fenced host.

A host is held when no path leaves the client's cluster, empty when it is held but nothing local is ready, and leaks
when a path leaves; that path is shown. An endpoint whose cluster is unknown counts as a leak. What an endpoint's
metadata says is checked against --addresses, which alone reveals a foreign address in a ServiceEntry.

The fenced hosts are those of --host (as strict), or of the manifests of --filename, or else of the cluster of the
kubeconfig. A token must be of a ServiceAccount in the client's namespace and have the audience istio-ca.
Exit code 0: everything is held or empty; 1: something leaks; 2: an error.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return f.verify(command.Context(), command.InOrStdin(), command.OutOrStdout())
		},
	}
	f.addTo(command)
	return command
}

func (f *verifyFlags) addTo(command *cobra.Command) {
	flags := command.Flags()
	f.cluster.addTo(flags)
	flags.StringVar(&f.istiod.Address, "istiod", "", "host:port of istiod, or of a port-forward to it (required)")
	flags.BoolVar(&f.istiod.Plaintext, "plaintext", false, "speak without TLS, as port 15010 does")
	flags.StringVar(&f.istiod.CAFile, "ca-file", "", "certificates that istiod's must chain to (default: the system's)")
	flags.StringVar(&f.istiod.ServerName, "server-name", "", "name in istiod's certificate, such as istiod.istio-system.svc")
	flags.StringVar(&f.istiod.TokenFile, "token-file", "", "file with a ServiceAccount token")

	flags.StringArrayVar(&f.clusters, "cluster", nil, "id of a cluster to ask as a client of (required, repeatable)")
	flags.StringSliceVar(&f.kinds, "kind", []string{string(xds.Sidecar), string(xds.Gateway)}, "kinds of client")
	flags.StringVarP(&f.sidecar.Namespace, "namespace", "n", "default", "namespace of the sidecar")
	flags.StringToStringVar(&f.sidecar.Labels, "labels", nil, "labels of the sidecar's Pod")
	flags.StringVar(&f.gateway.Namespace, "gateway-namespace", "istio-system", "namespace of the gateway")
	flags.StringToStringVar(&f.gateway.Labels, "gateway-labels", map[string]string{"istio": "ingressgateway"}, "labels of the gateway's Pod")
	flags.BoolVar(&f.sidecar.DNSCapture, "dns-capture", true, "the sidecar's agent answers DNS from istiod's name table")
	flags.StringToStringVar(&f.networks, "network", nil, "Istio network of a cluster's clients: m1c1=net1,...")
	flags.StringToStringVar(&f.localities, "locality", nil, "locality of a cluster's clients: m1c1=region/zone/subzone,...")
	flags.StringToStringVar(&f.addresses, "addresses", nil, "cluster of an address range: 10.1.0.0/16=m1c1,...")

	flags.StringSliceVar(&f.hosts, "host", nil, "host to verify as strict (repeatable)")
	flags.StringSliceVarP(&f.scene.paths, "filename", "f", nil, "files, folders or - for stdin with Services and Namespaces")
	flags.BoolVar(&f.byName, "by-name", false, "count clusters that no listener leads to as leaks, too")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long istiod may take to answer one client")
	flags.StringVarP(&f.output, "output", "o", "text", "text or json")
	for _, name := range []string{"istiod", "cluster"} {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	command.MarkFlagsMutuallyExclusive("host", "filename")
}

func (f *verifyFlags) verify(ctx context.Context, in io.Reader, out io.Writer) error {
	write, ok := map[string]func(io.Writer, []xds.Report) error{"text": writeReports, "json": writeReportsJSON}[f.output]
	if !ok {
		return fmt.Errorf("--output %q must be text or json", f.output)
	}
	rules, err := f.rules()
	if err != nil {
		return err
	}
	hosts, domain, err := f.fencedHosts(ctx, in)
	if err != nil {
		return err
	}
	if len(hosts) == 0 {
		return errors.New("no Service is fenced: there is nothing to verify")
	}
	client, err := xds.Dial(f.istiod)
	if err != nil {
		return err
	}
	defer client.Close()
	var reports []xds.Report
	for _, proxy := range f.proxies(domain) {
		snapshot, err := fetch(ctx, client, proxy, f.timeout)
		if err != nil {
			return err
		}
		reports = append(reports, xds.Verify(snapshot, hosts, rules)...)
	}
	if err := write(out, reports); err != nil {
		return err
	}
	if err := f.checkKnown(reports); err != nil {
		return err
	}
	if slices.ContainsFunc(reports, func(r xds.Report) bool { return r.Result == xds.Leaks }) {
		return errDenied
	}
	return nil
}

func fetch(ctx context.Context, client *xds.Client, proxy xds.Proxy, timeout time.Duration) (*xds.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return client.Fetch(ctx, proxy)
}

func (f *verifyFlags) rules() (xds.Rules, error) {
	rules := xds.Rules{Addresses: xds.Addresses{}, ByName: f.byName}
	for text, cluster := range f.addresses {
		prefix, err := netip.ParsePrefix(text)
		if address, addressErr := netip.ParseAddr(text); addressErr == nil {
			prefix, err = netip.PrefixFrom(address, address.BitLen()), nil
		}
		if err != nil {
			return rules, fmt.Errorf("--addresses: %w", err)
		}
		rules.Addresses[prefix.Masked()] = cluster
	}
	for _, kind := range f.kinds {
		if kind != string(xds.Sidecar) && kind != string(xds.Gateway) {
			return rules, fmt.Errorf("--kind %q must be sidecar or gateway", kind)
		}
	}
	return rules, nil
}

// proxies returns the clients to ask as.
func (f *verifyFlags) proxies(domain string) []xds.Proxy {
	var proxies []xds.Proxy
	for _, cluster := range f.clusters {
		for _, proxy := range []xds.Proxy{f.sidecar, f.gateway} {
			if slices.Contains(f.kinds, string(proxy.Kind)) {
				proxy.Cluster, proxy.Domain = cluster, domain
				proxy.Network, proxy.Locality = f.networks[cluster], f.localities[cluster]
				proxies = append(proxies, proxy)
			}
		}
	}
	return proxies
}

// checkKnown refuses to call a host held that istiod does not know: its name is likely to be a typing error.
func (f *verifyFlags) checkKnown(reports []xds.Report) error {
	var errs []error
	for _, host := range f.hosts {
		if !slices.ContainsFunc(reports, func(r xds.Report) bool { return r.Host == host && r.Known }) {
			errs = append(errs, fmt.Errorf("host %s: istiod knows none of that name for any of these clients", host))
		}
	}
	return errors.Join(errs...)
}
