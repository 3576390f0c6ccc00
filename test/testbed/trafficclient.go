package testbed

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// ClientOptions describe the workload that a [Client] is in.
type ClientOptions struct {
	// Cluster is the cluster of the workload.
	Cluster *Cluster
	// Namespace and Name are those of its Pod; default and client unless set. The Pod need not exist.
	Namespace, Name string
	// Address is that of its Pod; one that nobody else has unless set.
	Address netip.Addr
	// Labels are those of its Pod.
	Labels map[string]string
	// Locality is region/zone/subzone, where the Pod does not exist.
	Locality string
}

// Client is the gRPC client of one workload. One that [Mesh.Client] makes is proxyless: istiod tells it over xDS where
// to send what, as it tells Envoy. It honours subsets, weights, matches and priorities; it has no outlier detection by
// errors of calls, no TCP routes and no mutual TLS. One that [Envoy.Client] makes leaves all that to its proxy.
type Client struct {
	namespace string
	resolver  resolver.Builder
	// proxy takes all calls where it is set.
	proxy netip.Addr

	mu          sync.Mutex
	connections map[string]*grpc.ClientConn
}

// Request says what to call.
type Request struct {
	// Service is the name of a Service in the client's namespace, or a full host name.
	Service string
	// Port is that of the Service; 9080 unless set.
	Port uint16
	// Path is what VirtualServices match uri with; /<Service> unless set. A client ignores a rewrite.
	Path string
}

// Client makes the client of a workload. Close ends it.
func (m *Mesh) Client(o ClientOptions) (*Client, error) {
	o = m.complete(o)
	bootstrap, err := json.Marshal(m.bootstrap(o))
	if err != nil {
		return nil, fmt.Errorf("encode bootstrap: %w", err)
	}
	// Despite its name this is how one process holds clients of several workloads: any other way, the bootstrap is
	// that of the process.
	builder, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		return nil, fmt.Errorf("make the client of %s: %w", o.Name, err)
	}
	return &Client{namespace: o.Namespace, resolver: builder, connections: map[string]*grpc.ClientConn{}}, nil
}

// complete sets what is unset.
func (m *Mesh) complete(o ClientOptions) ClientOptions {
	o.Namespace = cmp.Or(o.Namespace, "default")
	o.Name = cmp.Or(o.Name, "client")
	if !o.Address.IsValid() {
		o.Address = m.address(o.Cluster)
	}
	return o
}

// bootstrap is what Istio's agent would write for a workload without a proxy.
func (m *Mesh) bootstrap(o ClientOptions) map[string]any {
	node := o.node()
	node["metadata"].(map[string]any)["GENERATOR"] = "grpc"
	return map[string]any{
		"xds_servers": []any{map[string]any{
			"server_uri":      m.XDS(o.Cluster),
			"channel_creds":   []any{map[string]any{"type": "insecure"}},
			"server_features": []any{"xds_v3"},
		}},
		"node": node,
	}
}

// node is what a workload says of itself to istiod.
func (o ClientOptions) node() map[string]any {
	locality := append(strings.Split(o.Locality, "/"), "", "")
	return map[string]any{
		"id": fmt.Sprintf("sidecar~%s~%s.%s~%[3]s.svc.cluster.local", o.Address, o.Name, o.Namespace),
		"locality": map[string]any{
			"region": locality[0], "zone": locality[1], "sub_zone": locality[2],
		},
		"metadata": map[string]any{
			"CLUSTER_ID":   o.Cluster.Name,
			"NAMESPACE":    o.Namespace,
			"NAME":         o.Name,
			"INSTANCE_IPS": o.Address.String(),
			"LABELS":       maps.Clone(o.Labels),
		},
	}
}

// Close ends every connection.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, connection := range c.connections {
		_ = connection.Close() // the only error is that it is closed
	}
	clear(c.connections)
}

// connection returns the one connection to a port of a Service, or a new one to the proxy.
func (c *Client) connection(r Request) (*grpc.ClientConn, error) {
	host := r.Service
	if !strings.Contains(host, ".") {
		host += "." + c.namespace + ".svc.cluster.local"
	}
	port := cmp.Or(r.Port, servicePort)
	if c.proxy.IsValid() {
		target := netip.AddrPortFrom(c.proxy, port)
		return grpc.NewClient("passthrough:///"+target.String(),
			grpc.WithAuthority(fmt.Sprintf("%s:%d", host, port)), grpc.WithTransportCredentials(insecure.NewCredentials()))
	}
	target := fmt.Sprintf("xds:///%s:%d", host, port)
	c.mu.Lock()
	defer c.mu.Unlock()
	if connection, ok := c.connections[target]; ok {
		return connection, nil
	}
	connection, err := grpc.NewClient(target,
		grpc.WithResolvers(c.resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	c.connections[target] = connection
	return connection, nil
}

// Call makes one call, which ends within two seconds.
func (c *Client) Call(ctx context.Context, r Request) Record {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	record := Record{At: time.Now()}
	record.Answer, record.Err = c.call(ctx, r)
	if record.Err != nil {
		record.Answer = failed(r.Service, record.Err)
	}
	record.Took = time.Since(record.At)
	return record
}

func (c *Client) call(ctx context.Context, r Request) (Answer, error) {
	connection, err := c.connection(r)
	if err != nil {
		return Answer{}, err
	}
	if c.proxy.IsValid() {
		defer func() { _ = connection.Close() }() // as in Close
	}
	reply := &wrapperspb.StringValue{}
	if err := connection.Invoke(ctx, cmp.Or(r.Path, "/"+r.Service)+method, &wrapperspb.StringValue{}, reply); err != nil {
		return Answer{}, err
	}
	var answer Answer
	if err := json.Unmarshal([]byte(reply.Value), &answer); err != nil {
		return Answer{}, fmt.Errorf("decode answer: %w", err)
	}
	return answer, nil
}

// Calls makes n calls, several at a time.
func (c *Client) Calls(ctx context.Context, r Request, n int) Records {
	const atOnce = 10
	records := make(Records, n)
	var workers sync.WaitGroup
	for worker := range atOnce {
		workers.Go(func() {
			for i := worker; i < n; i += atOnce {
				records[i] = c.Call(ctx, r)
			}
		})
	}
	workers.Wait()
	records.sort()
	return records
}

func (r Records) sort() {
	slices.SortFunc(r, func(a, b Record) int { return a.At.Compare(b.At) })
}

// Expect calls until in n calls each of the clusters given answered and nobody else did, and calls failed with each
// of the gRPC codes given and with no other.
func (c *Client) Expect(ctx context.Context, r Request, n int, want ...string) (Records, error) {
	want = slices.Sorted(slices.Values(want))
	return c.Until(ctx, r, n, func(records Records) error {
		counts := records.Sources()
		if slices.Equal(slices.Sorted(maps.Keys(counts)), want) {
			return nil
		}
		err := fmt.Errorf("calls to %s%s: want %v, got %v", r.Service, r.Path, want, counts)
		return errors.Join(append([]error{err}, records.Errs()...)...)
	})
}

// settleWithin bounds how long a change may take from the API server to every client on a busy machine.
const settleWithin = 30 * time.Second

// Until makes n calls, again and again, until the condition returns nil for them, and returns those. After half a
// minute it gives up.
func (c *Client) Until(ctx context.Context, r Request, n int, condition func(Records) error) (Records, error) {
	var records Records
	err := Eventually(ctx, settleWithin, func(ctx context.Context) error {
		records = c.Calls(ctx, r, n)
		return condition(records)
	})
	return records, err
}
