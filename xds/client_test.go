package xds_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshfence/meshfence"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/xds"
)

// istiod is a stand-in that serves one snapshot and keeps what it was asked.
type istiod struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	snapshot *xds.Snapshot
	// withhold is a resource that never comes.
	withhold string

	node     *corev3.Node
	token    []string
	requests []string
	done     chan struct{} // closed when the stream has ended: only then may the fields above be read
}

func (i *istiod) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	defer close(i.done)
	md, _ := metadata.FromIncomingContext(stream.Context())
	i.token = md.Get("authorization")
	for nonce := 1; ; {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) || status.Code(err) == codes.Canceled {
			return nil
		}
		if err != nil {
			return err
		}
		if request.GetNode() != nil {
			if i.node != nil {
				return errors.New("a second node")
			}
			i.node = request.GetNode()
		}
		kind := request.GetTypeUrl()[strings.LastIndexByte(request.GetTypeUrl(), '.')+1:]
		if request.GetVersionInfo() != "" && kind != "Cluster" {
			i.requests = append(i.requests, "ack "+kind)
			continue
		}
		if request.GetVersionInfo() != "" {
			continue // when this one comes is the client's affair
		}
		i.requests = append(i.requests, strings.Join(append([]string{kind}, request.GetResourceNames()...), " "))
		response, err := i.answer(kind, request)
		if err != nil {
			return err
		}
		response.VersionInfo, response.Nonce, response.TypeUrl = "1", fmt.Sprint(nonce), request.GetTypeUrl()
		nonce++
		if err := stream.Send(response); err != nil {
			return err
		}
	}
}

func (i *istiod) answer(kind string, request *discoveryv3.DiscoveryRequest) (*discoveryv3.DiscoveryResponse, error) {
	var messages []proto.Message
	switch kind {
	case "Cluster":
		for _, cluster := range i.snapshot.Clusters {
			messages = append(messages, cluster)
		}
	case "Listener":
		for _, listener := range i.snapshot.Listeners {
			messages = append(messages, listener)
		}
	case "ClusterLoadAssignment":
		for _, name := range request.GetResourceNames() {
			if name != i.withhold {
				messages = append(messages, i.snapshot.Endpoints[name])
			}
		}
	case "RouteConfiguration":
		for _, name := range request.GetResourceNames() {
			if name != i.withhold {
				messages = append(messages, i.snapshot.Routes[name])
			}
		}
	case "NameTable":
		return &discoveryv3.DiscoveryResponse{Resources: []*anypb.Any{{TypeUrl: request.GetTypeUrl(), Value: nameTable(i.snapshot)}}}, nil
	default:
		return nil, fmt.Errorf("asked for %s", kind)
	}
	response := &discoveryv3.DiscoveryResponse{}
	for _, message := range messages {
		packed, err := anypb.New(message)
		if err != nil {
			return nil, err
		}
		response.Resources = append(response.Resources, packed)
	}
	return response, nil
}

// nameTable encodes a name table as Istio's generated code does, with a field in each message that is not read.
func nameTable(s *xds.Snapshot) []byte {
	var table []byte
	for host, addresses := range s.Names {
		var info []byte
		for _, address := range addresses {
			info = protowire.AppendString(protowire.AppendTag(info, 1, protowire.BytesType), address)
		}
		info = protowire.AppendString(protowire.AppendTag(info, 2, protowire.BytesType), "Kubernetes")
		if service, ok := s.NamedServices[host]; ok {
			info = protowire.AppendString(protowire.AppendTag(info, 3, protowire.BytesType), service.Name)
			info = protowire.AppendString(protowire.AppendTag(info, 4, protowire.BytesType), service.Namespace)
		}
		entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), host)
		entry = protowire.AppendBytes(protowire.AppendTag(entry, 2, protowire.BytesType), info)
		table = protowire.AppendBytes(protowire.AppendTag(table, 1, protowire.BytesType), entry)
	}
	return protowire.AppendVarint(protowire.AppendTag(table, 9, protowire.VarintType), 7)
}

func (i *istiod) serve(t *testing.T, options ...grpc.ServerOption) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	i.done = make(chan struct{})
	server := grpc.NewServer(options...)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, i)
	stopped := make(chan error)
	go func() { stopped <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

func dial(t *testing.T, o xds.Options) *xds.Client {
	t.Helper()
	client, err := xds.Dial(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// mesh is a snapshot with a route, an unrouted cluster and a name table.
func mesh(t *testing.T) *xds.Snapshot {
	s := newSnapshot()
	addEDS(s, base, endpoint("10.1.0.8", "m1c1"), endpoint("10.2.0.8", "m1c2"))
	addEDS(s, subset, endpoint("10.1.0.8", "m1c1"))
	addHTTP(t, s, reviews, routeTo(base))
	s.Names["ratings.default.svc.cluster.local"] = []string{"10.101.0.8", "fd00::8"}
	s.NamedServices = map[string]hostname.Host{reviews: {Namespace: "default", Name: "reviews"}}
	return s
}

func TestFetch(t *testing.T) {
	t.Parallel()
	server := &istiod{snapshot: mesh(t)}
	client := dial(t, xds.Options{Address: server.serve(t), Plaintext: true})
	proxy := server.snapshot.Proxy
	proxy.Network, proxy.Locality, proxy.Labels = "net1", "r1/z1", map[string]string{"app": "productpage"}
	got, err := client.Fetch(t.Context(), proxy)
	if err != nil {
		t.Fatal(err)
	}
	<-server.done

	server.snapshot.Proxy = proxy
	want := xds.Verify(server.snapshot, strict(), xds.Rules{})
	if diff := cmp.Diff(want, xds.Verify(got, strict(), xds.Rules{})); diff != "" || want[0].Result != xds.Leaks {
		t.Errorf("report on what was fetched (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(server.snapshot.Names, got.Names); diff != "" {
		t.Errorf("name table (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(server.snapshot.NamedServices, got.NamedServices); diff != "" {
		t.Errorf("Services of the name table (-want +got):\n%s", diff)
	}
	for _, want := range []string{"Cluster", "Listener", "NameTable", "ClusterLoadAssignment " + subset + " " + base, "RouteConfiguration 9080"} {
		if !slices.Contains(server.requests, want) {
			t.Errorf("want the request %q among %q", want, server.requests)
		}
	}
	if !slices.Contains(server.requests, "ack Listener") {
		t.Errorf("want the listeners acknowledged in %q", server.requests)
	}
	if want := "sidecar~192.0.2.1~meshfence-verify.default~default.svc.cluster.local"; server.node.GetId() != want {
		t.Errorf("node id: want %s, got %s", want, server.node.GetId())
	}
	wantMetadata := map[string]any{
		"CLUSTER_ID": "m1c1", "DNS_CAPTURE": "true", "INSTANCE_IPS": "192.0.2.1", "ISTIO_VERSION": meshfence.IstioVersion(),
		"LABELS": map[string]any{"app": "productpage"}, "NAME": "meshfence-verify", "NAMESPACE": "default", "NETWORK": "net1",
	}
	if diff := cmp.Diff(wantMetadata, server.node.GetMetadata().AsMap()); diff != "" {
		t.Errorf("node metadata (-want +got):\n%s", diff)
	}
	if l := server.node.GetLocality(); l.GetRegion() != "r1" || l.GetZone() != "z1" || l.GetSubZone() != "" {
		t.Errorf("locality: want r1/z1, got %v", l)
	}
}

func TestFetchAsGateway(t *testing.T) {
	t.Parallel()
	server := &istiod{snapshot: newSnapshot()} // no cluster, no listener: nothing to follow
	client := dial(t, xds.Options{Address: server.serve(t), Plaintext: true})
	proxy := xds.Proxy{Cluster: "m1c1", Kind: xds.Gateway, Namespace: "istio-system"}
	if _, err := client.Fetch(t.Context(), proxy); err != nil {
		t.Fatal(err)
	}
	<-server.done
	if !strings.HasPrefix(server.node.GetId(), "router~") {
		t.Errorf("node id: want a router, got %s", server.node.GetId())
	}
	for _, request := range server.requests {
		if !slices.Contains([]string{"Cluster", "Listener", "ack Listener"}, request) {
			t.Errorf("a gateway without listeners asked for %s", request)
		}
	}
}

func TestFetchIsNeverPartial(t *testing.T) {
	t.Parallel()
	for _, withhold := range []string{base, "9080"} {
		t.Run(withhold, func(t *testing.T) {
			t.Parallel()
			server := &istiod{snapshot: mesh(t), withhold: withhold}
			client := dial(t, xds.Options{Address: server.serve(t), Plaintext: true})
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			_, err := client.Fetch(ctx, server.snapshot.Proxy)
			if err == nil || !strings.Contains(err.Error(), withhold) {
				t.Errorf("want an error that names %s, got %v", withhold, err)
			}
		})
	}
}

func TestFetchErrors(t *testing.T) {
	t.Parallel()
	client := dial(t, xds.Options{Address: "127.0.0.1:1", Plaintext: true})
	for name, test := range map[string]struct {
		proxy xds.Proxy
		want  string
	}{
		"nobody listens": {xds.Proxy{Cluster: "m1c1", Kind: xds.Sidecar, Namespace: "default"}, "connection refused"},
		"no cluster":     {xds.Proxy{Kind: xds.Sidecar, Namespace: "default"}, "cluster must be set"},
		"no namespace":   {xds.Proxy{Cluster: "m1c1", Kind: xds.Sidecar}, "namespace must be set"},
		"no kind":        {xds.Proxy{Cluster: "m1c1", Namespace: "default"}, "kind \"\" must be"},
		"bad address":    {xds.Proxy{Cluster: "m1c1", Kind: xds.Sidecar, Namespace: "default", IP: "here"}, "ip \"here\" must be"},
		"bad locality":   {xds.Proxy{Cluster: "m1c1", Kind: xds.Sidecar, Namespace: "default", Locality: "a/b/c/d"}, "locality"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client.Fetch(t.Context(), test.proxy)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("want an error with %q, got %v", test.want, err)
			}
		})
	}
}

func TestFetchOverTLS(t *testing.T) {
	t.Parallel()
	certificate, ca := selfSigned(t, "istiod.istio-system.svc")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		serverName, want string
	}{
		"the right name": {"istiod.istio-system.svc", ""},
		"another name":   {"istiod.elsewhere.svc", "certificate is valid for istiod.istio-system.svc"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := &istiod{snapshot: mesh(t)}
			address := server.serve(t, grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))
			client := dial(t, xds.Options{Address: address, CAFile: ca, ServerName: test.serverName, TokenFile: token})
			_, err := client.Fetch(t.Context(), server.snapshot.Proxy)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("want an error with %q, got %v", test.want, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			<-server.done
			if diff := cmp.Diff([]string{"Bearer secret"}, server.token); diff != "" {
				t.Errorf("authorization (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDialRefuses(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]xds.Options{
		"a token in plain text":     {Address: "127.0.0.1:15010", Plaintext: true, TokenFile: "token"},
		"a CA that nobody uses":     {Address: "127.0.0.1:15010", Plaintext: true, CAFile: empty},
		"a CA file without any":     {Address: "127.0.0.1:15012", CAFile: empty},
		"a CA file that is missing": {Address: "127.0.0.1:15012", CAFile: empty + ".absent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if client, err := xds.Dial(options); err == nil {
				_ = client.Close()
				t.Error("want an error")
			}
		})
	}
}

// selfSigned returns a certificate for one name, and the path of it as its own CA.
func selfSigned(t *testing.T, name string) (certificate tls.Certificate, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, ca
}
