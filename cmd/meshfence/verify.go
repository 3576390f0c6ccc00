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
	maxClients       int
	timeout          time.Duration
	output           string
	// narrowed reports whether flags name the one sidecar and the one gateway of each cluster.
	narrowed bool
}

func newVerify() *cobra.Command {
	f := verifyFlags{sidecar: xds.Proxy{Kind: xds.Sidecar}, gateway: xds.Proxy{Kind: xds.Gateway}}
	command := &cobra.Command{
		Use:   "verify --istiod ADDR --cluster ID...",
		Short: "Ask istiod what it really sends, and follow every path to a fenced host",
		Long: `Ask istiod over xDS, as sidecars and as gateways of each cluster, for listeners, routes, clusters and
endpoints, and follow every connection that is meant for a fenced host: every address and port of it, in plain TCP, in
HTTP by every spelling of its name, in TLS by every name, and every answer that DNS gives for it. Each is followed as
Envoy would: listener, filter chain, virtual host, route, cluster, endpoint. Whatever else names the host is found too.

A host is held when no connection and no path leaves the client's cluster, empty when it is held but nothing local is
ready, and leaks when one leaves; the path is shown, with a connection that takes it. A host whose fence is prefer is
elsewhere when other clusters alone answer: nothing local is ready, or a rule leads its calls away, which a note says. Where istiod does not tell a client
of a host, its packets go somewhere all the same, and a note says where. An endpoint whose cluster is unknown counts as a
leak. What an endpoint's metadata says is checked against --addresses, which alone reveals a foreign address in a
ServiceEntry.

The fenced hosts are those of --host (as strict; HOST=IP:PORT tells an address that the client may not know), or of the
manifests of --filename, or else of the cluster of the kubeconfig. Manifests and the kubeconfig also say which clients
differ: a sidecar is asked in every namespace whose Sidecars, DestinationRules, ServiceEntries, VirtualServices or
exports make it different, a gateway for every selector of a Gateway, and a sidecar on every network that a label names.
Each of --namespace, --labels, --gateway-namespace, --gateway-labels and --token-file narrows that to one sidecar and one
gateway of each cluster. What is not asked is said on standard error. A token must be of a ServiceAccount in the client's
namespace and have the audience istio-ca.
Exit code 0: nothing leaks; 1: something leaks; 2: an error.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			f.narrowed = slices.ContainsFunc(narrowing(), command.Flags().Changed)
			return f.verify(command.Context(), command.InOrStdin(), command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	f.addTo(command)
	return command
}

// narrowing are the flags that name one sidecar and one gateway of each cluster; a token is good for one namespace.
func narrowing() []string {
	return []string{"namespace", "labels", "gateway-namespace", "gateway-labels", "token-file"}
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
	flags.StringVarP(&f.sidecar.Namespace, "namespace", "n", "default", "namespace of the one sidecar to ask as")
	flags.StringToStringVar(&f.sidecar.Labels, "labels", nil, "labels of that sidecar's Pod")
	flags.StringVar(&f.gateway.Namespace, "gateway-namespace", "istio-system", "namespace of the one gateway to ask as")
	flags.StringToStringVar(&f.gateway.Labels, "gateway-labels", map[string]string{"istio": "ingressgateway"}, "labels of that gateway's Pod")
	flags.BoolVar(&f.sidecar.DNSCapture, "dns-capture", true, "the sidecar's agent answers DNS from istiod's name table")
	flags.StringToStringVar(&f.networks, "network", nil, "Istio network of a cluster's clients: m1c1=net1,...")
	flags.StringToStringVar(&f.localities, "locality", nil, "locality of a cluster's clients: m1c1=region/zone/subzone,...")
	flags.StringToStringVar(&f.addresses, "addresses", nil, "cluster of an address range: 10.1.0.0/16=m1c1,...")

	flags.StringSliceVar(&f.hosts, "host", nil, "host to verify as strict: HOST, HOST=IP or HOST=IP:PORT (repeatable)")
	flags.StringSliceVarP(&f.scene.paths, "filename", "f", nil, "files, folders or - for stdin with Services and Namespaces")
	flags.BoolVar(&f.byName, "by-name", false, "count clusters that no listener leads to as leaks, too")
	flags.IntVar(&f.maxClients, "max-clients", 100, "how many clients of a cluster to ask as, beside those on other networks")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long istiod may take to answer one client")
	flags.StringVarP(&f.output, "output", "o", "text", "text or json")
	for _, name := range []string{"istiod", "cluster"} {
		if err := command.MarkFlagRequired(name); err != nil {
			panic(err) // the flag is defined above
		}
	}
	command.MarkFlagsMutuallyExclusive("host", "filename")
}

func (f *verifyFlags) verify(ctx context.Context, in io.Reader, out, progress io.Writer) error {
	write, ok := map[string]func(io.Writer, []xds.Report) error{"text": writeReports, "json": writeReportsJSON}[f.output]
	if !ok {
		return fmt.Errorf("--output %q must be text or json", f.output)
	}
	rules, err := f.rules()
	if err != nil {
		return err
	}
	world, err := f.world(ctx, in)
	if err != nil {
		return err
	}
	if len(world.hosts) == 0 {
		return errors.New("no Service is fenced: there is nothing to verify")
	}
	for prefix, cluster := range world.podPlaces() {
		if rules.Addresses[prefix] == "" {
			rules.Addresses[prefix] = cluster
		}
	}
	client, err := xds.Dial(f.istiod)
	if err != nil {
		return err
	}
	defer client.Close()
	proxies, left := f.proxies(world)
	asker := asker{client: client, flags: f, rules: rules, hosts: world.hosts, progress: progress}
	reports, err := asker.all(ctx, proxies)
	if err != nil {
		return err
	}
	world.noteIdle(reports)
	if err := write(out, reports); err != nil {
		return err
	}
	for _, what := range left {
		fmt.Fprintf(progress, "not asked: %s\n", what)
	}
	if err := f.checkKnown(world.hosts, reports); err != nil {
		return err
	}
	if slices.ContainsFunc(reports, func(r xds.Report) bool { return r.Result == xds.Leaks }) {
		return errDenied
	}
	return nil
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

// checkKnown refuses to call a host held that a flag names and nobody knows: the name is likely to be a typing error.
func (f *verifyFlags) checkKnown(hosts []xds.Host, reports []xds.Report) error {
	if len(f.hosts) == 0 {
		return nil
	}
	var errs []error
	for _, host := range hosts {
		known := slices.ContainsFunc(reports, func(r xds.Report) bool { return r.Host == host.FQDN && r.Known })
		if !known && len(host.Addresses) == 0 {
			errs = append(errs, fmt.Errorf("host %s: istiod knows none of that name for any of these clients", host.FQDN))
		}
	}
	return errors.Join(errs...)
}
