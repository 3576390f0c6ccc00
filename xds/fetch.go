package xds

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshfence/meshfence/policy/hostname"
)

// The resource types of one stream.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routeType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	nameType     = "type.googleapis.com/istio.networking.nds.v1.NameTable"
)

// Fetch returns what istiod sends that proxy, over one state-of-the-world stream. It subscribes and acknowledges as
// Envoy does, and returns when every resource that was asked for has come. A resource that does not come before ctx
// ends is an error that names it: a snapshot is never partial.
func (c *Client) Fetch(ctx context.Context, p Proxy) (*Snapshot, error) {
	if err := p.validate(); err != nil {
		return nil, err
	}
	node, err := p.node()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(c.connection).StreamAggregatedResources(ctx)
	if err != nil {
		return nil, fmt.Errorf("open stream: %w", err)
	}
	f := &fetch{stream: stream, node: node, subscriptions: map[string]*subscription{}, snapshot: Snapshot{
		Proxy:     p,
		Routes:    map[string]*routev3.RouteConfiguration{},
		Endpoints: map[string]*endpointv3.ClusterLoadAssignment{},
	}}
	if err := f.run(); err != nil {
		return nil, fmt.Errorf("fetch as %s of %s: %w", p.Kind, p.Cluster, err)
	}
	return &f.snapshot, nil
}

// fetch is the state of one stream.
type fetch struct {
	stream        discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	node          *corev3.Node
	subscriptions map[string]*subscription
	snapshot      Snapshot
}

// subscription is the state of one resource type.
type subscription struct {
	names          []string // empty for the types that are asked for as a whole
	version, nonce string
	answered       bool
}

func (f *fetch) run() error {
	types := []string{clusterType, listenerType}
	if f.snapshot.Proxy.Kind == Sidecar {
		types = append(types, nameType)
	}
	for _, typeURL := range types {
		if err := f.subscribe(typeURL, nil); err != nil {
			return err
		}
	}
	for {
		missing := f.missing()
		if len(missing) == 0 {
			return nil
		}
		response, err := f.stream.Recv()
		if err != nil {
			return fmt.Errorf("wait for %s: %w", summary(missing), err)
		}
		if err := f.take(response); err != nil {
			return err
		}
	}
}

// subscribe asks for resources by name, unless just those have been asked for already. Without names it asks for
// all of a type.
func (f *fetch) subscribe(typeURL string, names []string) error {
	s, ok := f.subscriptions[typeURL]
	if ok && slices.Equal(s.names, names) {
		return nil
	}
	if !ok {
		s = &subscription{}
		f.subscriptions[typeURL] = s
	}
	s.names = names
	return f.request(typeURL)
}

// request sends the state of a subscription; after a response this is what acknowledges it.
func (f *fetch) request(typeURL string) error {
	s := f.subscriptions[typeURL]
	err := f.stream.Send(&discoveryv3.DiscoveryRequest{
		Node: f.node, TypeUrl: typeURL, ResourceNames: s.names, VersionInfo: s.version, ResponseNonce: s.nonce,
	})
	if err != nil {
		// Send only says that the stream has ended; Recv says why.
		if _, cause := f.stream.Recv(); cause != nil {
			err = cause
		}
		return fmt.Errorf("ask for %s: %w", short(typeURL), err)
	}
	f.node = nil // Envoy says who it is once
	return nil
}

// take stores a response, acknowledges it, and asks for what it refers to.
func (f *fetch) take(response *discoveryv3.DiscoveryResponse) error {
	s, ok := f.subscriptions[response.GetTypeUrl()]
	if !ok {
		return fmt.Errorf("got %s, which was not asked for", response.GetTypeUrl())
	}
	if err := f.store(response); err != nil {
		return err
	}
	s.version, s.nonce, s.answered = response.GetVersionInfo(), response.GetNonce(), true
	if err := f.request(response.GetTypeUrl()); err != nil {
		return err
	}
	switch response.GetTypeUrl() {
	case clusterType:
		return f.follow(endpointType, f.endpointNames())
	case listenerType:
		names, err := routeNames(f.snapshot.Listeners)
		if err != nil {
			return err
		}
		return f.follow(routeType, names)
	}
	return nil
}

// follow subscribes to what other resources name; to none is not to subscribe.
func (f *fetch) follow(typeURL string, names []string) error {
	if _, subscribed := f.subscriptions[typeURL]; len(names) == 0 && !subscribed {
		return nil
	}
	return f.subscribe(typeURL, names)
}

func (f *fetch) store(response *discoveryv3.DiscoveryResponse) error {
	resources := response.GetResources()
	var err error
	switch response.GetTypeUrl() {
	case clusterType:
		f.snapshot.Clusters = map[string]*clusterv3.Cluster{}
		err = decodeEach(resources, func(c *clusterv3.Cluster) { f.snapshot.Clusters[c.GetName()] = c })
	case listenerType:
		f.snapshot.Listeners = nil
		err = decodeEach(resources, func(l *listenerv3.Listener) { f.snapshot.Listeners = append(f.snapshot.Listeners, l) })
	case endpointType:
		err = decodeEach(resources, func(a *endpointv3.ClusterLoadAssignment) { f.snapshot.Endpoints[a.GetClusterName()] = a })
	case routeType:
		err = decodeEach(resources, func(r *routev3.RouteConfiguration) { f.snapshot.Routes[r.GetName()] = r })
	case nameType:
		return f.storeNames(resources)
	}
	if err != nil {
		return fmt.Errorf("decode %s: %w", short(response.GetTypeUrl()), err)
	}
	return nil
}

func (f *fetch) storeNames(resources []*anypb.Any) error {
	f.snapshot.Names, f.snapshot.NamedServices = map[string][]string{}, map[string]hostname.Host{}
	for _, resource := range resources {
		table, err := decodeNameTable(resource.GetValue())
		if err != nil {
			return err
		}
		for name, info := range table {
			f.snapshot.Names[name] = info.addresses
			if info.service != (hostname.Host{}) {
				f.snapshot.NamedServices[name] = info.service
			}
		}
	}
	return nil
}

// decodeEach calls do with every resource of a response.
func decodeEach[M proto.Message](resources []*anypb.Any, do func(M)) error {
	for _, resource := range resources {
		message, err := resource.UnmarshalNew()
		if err != nil {
			return err
		}
		typed, ok := message.(M)
		if !ok {
			return fmt.Errorf("%s is not of the type that was asked for", resource.GetTypeUrl())
		}
		do(typed)
	}
	return nil
}

func (f *fetch) endpointNames() []string {
	names := map[string]bool{}
	for _, cluster := range f.snapshot.Clusters {
		if name, ok := endpointsName(cluster); ok {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// missing names what has been asked for and has not come.
func (f *fetch) missing() []string {
	var missing []string
	for typeURL, s := range f.subscriptions {
		if whole := typeURL != endpointType && typeURL != routeType; whole && !s.answered {
			missing = append(missing, short(typeURL))
		}
		for _, name := range s.names {
			_, endpoints := f.snapshot.Endpoints[name]
			_, routes := f.snapshot.Routes[name]
			if (typeURL == endpointType && !endpoints) || (typeURL == routeType && !routes) {
				missing = append(missing, short(typeURL)+" "+name)
			}
		}
	}
	return missing
}

// summary keeps an error about thousands of resources readable.
func summary(names []string) string {
	slices.Sort(names)
	const shown = 10
	if len(names) > shown {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:shown], ", "), len(names)-shown)
	}
	return strings.Join(names, ", ")
}

func short(typeURL string) string {
	return typeURL[strings.LastIndexByte(typeURL, '.')+1:]
}
