package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
)

// ToolEnvoy is Envoy, for [Main], [Run] and [Tool]. [Mesh.StartEnvoy] needs it.
const ToolEnvoy = "envoy"

// envoyAdmin is the port of Envoy's administration interface, on the address of its Pod.
const envoyAdmin = 15000

// EnvoyOptions describe a proxy.
type EnvoyOptions struct {
	// ClientOptions describe the workload that the proxy is in.
	ClientOptions
	// Gateway makes it an ingress gateway. Without it, it is the sidecar of a workload that calls and is not called.
	Gateway bool
	// Redirected makes it the sidecar of a Pod whose connections are redirected to it. Without iptables the client says
	// where it has dialled: see [Envoy.Dial]. Only one can run at a time, and its namespace needs [DialledFilter].
	Redirected bool
}

// envoyOutbound is the port to which iptables redirects.
const envoyOutbound = 15001

// DialledFilter has the sidecars of a namespace take the address that a client has dialled from a header of the PROXY
// protocol, as they take it from the kernel otherwise, and take nothing in for a workload, which would need
// certificates.
const DialledFilter = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: dialled}
spec:
  configPatches:
  - applyTo: LISTENER_FILTER
    match: {context: SIDECAR_OUTBOUND, listener: {name: virtualOutbound}}
    patch:
      operation: INSERT_FIRST
      value:
        name: envoy.filters.listener.proxy_protocol
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: plain}
spec: {mtls: {mode: DISABLE}}
`

// Envoy is a real proxy that istiod configures. As nothing redirects calls to it, it takes those that are sent to the
// address of its Pod.
type Envoy struct {
	options EnvoyOptions
	process *Process
}

// stockEnvoyEnv has istiod leave out the filters that only Istio's own build of Envoy has.
func stockEnvoyEnv() []string {
	return []string{"PILOT_ENABLE_METADATA_EXCHANGE=false", "PILOT_ENABLE_ALPN_FILTER=false"}
}

// withoutAutoMTLS is added to the mesh config: without a certificate authority Envoy would wait for certificates for
// ever before it uses a cluster.
func withoutAutoMTLS(mesh string) string { return mesh + "enableAutoMtls: false\n" }

// StartEnvoy starts a proxy and returns when istiod has configured it. The tools must include [ToolEnvoy], and
// MeshOptions.Envoy must be set. A sidecar listens on the ports that an object of kind Sidecar gives it, an ingress
// gateway on those of the Gateways that select it; both must bind to the address of its Pod, since all proxies share
// the network.
func (m *Mesh) StartEnvoy(ctx context.Context, o EnvoyOptions) (*Envoy, error) {
	if !m.options.Envoy {
		return nil, errors.New("start envoy: MeshOptions.Envoy is not set")
	}
	path, err := Tool(ToolEnvoy)
	if err != nil {
		return nil, err
	}
	o.ClientOptions = m.complete(o.ClientOptions)
	bootstrap, err := json.Marshal(m.envoyBootstrap(o))
	if err != nil {
		return nil, fmt.Errorf("encode bootstrap: %w", err)
	}
	name := "envoy-" + o.Namespace + "-" + o.Name
	file := filepath.Join(o.Cluster.dir, name+".json")
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		return nil, err
	}
	admin := netip.AddrPortFrom(o.Address, envoyAdmin).String()
	process, err := StartProcess(ctx, Command{
		Name:  name,
		Path:  path,
		Args:  []string{"--config-path", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"},
		Dir:   o.Cluster.dir,
		Ready: o.Cluster.healthy(&rest.Config{Host: "http://" + admin}, "/ready"),
	})
	if err != nil {
		return nil, err
	}
	return &Envoy{options: o, process: process}, nil
}

// envoyBootstrap is what Istio's agent would write for a proxy, without certificates, statistics and tracing.
func (m *Mesh) envoyBootstrap(o EnvoyOptions) map[string]any {
	node := o.node()
	metadata := node["metadata"].(map[string]any)
	metadata["ISTIO_VERSION"] = "1.31.0"
	if o.Gateway {
		node["id"] = "router" + strings.TrimPrefix(node["id"].(string), "sidecar")
	} else if !o.Redirected {
		metadata["INTERCEPTION_MODE"] = "NONE"
	}
	node["cluster"] = o.Name + "." + o.Namespace
	ads := map[string]any{"ads": map[string]any{}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
	const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	return map[string]any{
		"node":  node,
		"admin": map[string]any{"address": socket(netip.AddrPortFrom(o.Address, envoyAdmin))},
		"dynamic_resources": map[string]any{
			"lds_config": ads,
			"cds_config": ads,
			"ads_config": map[string]any{
				"api_type":                       "GRPC",
				"transport_api_version":          "V3",
				"set_node_on_first_message_only": true,
				"grpc_services":                  []any{map[string]any{"envoy_grpc": map[string]any{"cluster_name": "xds-grpc"}}},
			},
		},
		"static_resources": map[string]any{"clusters": []any{map[string]any{
			"name":            "xds-grpc",
			"type":            "STATIC",
			"connect_timeout": "1s",
			"load_assignment": map[string]any{
				"cluster_name": "xds-grpc",
				"endpoints": []any{map[string]any{"lb_endpoints": []any{map[string]any{
					"endpoint": map[string]any{"address": socket(netip.MustParseAddrPort(m.XDS(o.Cluster)))},
				}}}},
			},
			"typed_extension_protocol_options": map[string]any{options: map[string]any{
				"@type":                "type.googleapis.com/" + options,
				"explicit_http_config": map[string]any{"http2_protocol_options": map[string]any{}},
			}},
		}}},
	}
}

// socket is an address as Envoy writes it.
func socket(address netip.AddrPort) map[string]any {
	return map[string]any{"socket_address": map[string]any{"address": address.Addr().String(), "port_value": address.Port()}}
}

// Client returns a client all of whose calls go through the proxy, each on a connection of its own, so that TCP is
// balanced like HTTP.
func (e *Envoy) Client() *Client {
	return &Client{namespace: e.options.Namespace, proxy: e.options.Address}
}

// StaticAddress is where a proxy of [StartStatic] must have its administration interface, and a listener on the port
// to which iptables redirects.
const StaticAddress = "127.0.0.1"

// StartStatic starts a proxy with a bootstrap of one's own, which [Envoy.Dial] connects through; no cluster is needed.
func StartStatic(ctx context.Context, dir string, bootstrap []byte) (*Envoy, error) {
	path, err := Tool(ToolEnvoy)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "envoy.json")
	if err := os.WriteFile(file, bootstrap, 0o600); err != nil {
		return nil, err
	}
	address := netip.MustParseAddr(StaticAddress)
	process, err := StartProcess(ctx, Command{
		Name: "envoy",
		Path: path,
		Args: []string{"--config-path", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"},
		Dir:  dir,
		Ready: func(ctx context.Context) error {
			return ready(ctx, netip.AddrPortFrom(address, envoyAdmin))
		},
	})
	if err != nil {
		return nil, err
	}
	return &Envoy{options: EnvoyOptions{Redirected: true, ClientOptions: ClientOptions{Address: address}}, process: process}, nil
}

// ready asks a proxy whether it has its configuration.
func ready(ctx context.Context, admin netip.AddrPort) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin.String()+"/ready", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("envoy is not ready: status %d", response.StatusCode)
	}
	return nil
}

// Dial connects to an address through a proxy that is Redirected.
func (e *Envoy) Dial(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
	connection, err := (&net.Dialer{}).DialContext(ctx, "tcp", netip.AddrPortFrom(e.options.Address, envoyOutbound).String())
	if err != nil {
		return nil, err
	}
	from := e.options.Address
	if _, err := fmt.Fprintf(connection, "PROXY TCP4 %s %s %d %d\r\n", from, address.Addr(), envoyOutbound+1, address.Port()); err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	return connection, nil
}

// Refused returns the lines of the log that tell of configuration that the proxy did not accept, such as that for a
// filter that it lacks.
func (e *Envoy) Refused() []string {
	lines := strings.Split(e.process.Log(math.MaxInt), "\n")
	return slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, " rejected: ") })
}

// Log returns the last lines of the proxy's log.
func (e *Envoy) Log(lines int) string { return e.process.Log(lines) }

// Stop ends the proxy and returns when it is gone.
func (e *Envoy) Stop() { e.process.Stop(0) }
