package traffic_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

var seed = flag.Uint64("seed", 1, "what TestEnvoyMatches makes up")

// The addresses of TestEnvoyMatches: those that clients dial, and those of clusters.
const (
	dialledNet = "127.0.77."
	placeNet   = "127.0.78."
	firstPort  = 7000
	matchPorts = 120
	manyPlaces = 8
)

// TestEnvoyMatches makes up listeners, filter chains and virtual hosts, and compares where a real Envoy and the resolver
// send connections: every level of Envoy's order, with what is more specific and does not match in the end.
func TestEnvoyMatches(t *testing.T) {
	if !*withEnvoy {
		t.Skip("without -envoy nothing goes through Envoy")
	}
	g := generator{t: t, random: rand.New(rand.NewPCG(*seed, 0))}
	snapshot := g.snapshot()
	envoy, err := testbed.StartStatic(t.Context(), t.TempDir(), bootstrap(t, snapshot))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(envoy.Log(20))
		}
		envoy.Stop()
	})
	var places []netip.AddrPort
	for i := range manyPlaces {
		places = append(places, netip.MustParseAddrPort(fmt.Sprint(placeNet, i+1, ":", firstPort)))
	}
	for port := range matchPorts {
		for i := range 4 {
			places = append(places, netip.MustParseAddrPort(fmt.Sprint(dialledNet, i+1, ":", firstPort+port)))
		}
	}
	served, err := testbed.ServePlaces(t.Context(), places...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(served.Stop)
	r := resolving{envoy: envoy, resolver: xds.NewResolver(snapshot, xds.Rules{})}
	for port := range matchPorts {
		for range 40 {
			r.compare(t, g.probe(port))
		}
	}
	nowhere, all := r.ends[""], 0
	for _, n := range r.ends {
		all += n
	}
	t.Logf("%d connections, %d of them ended nowhere, at %d places", all, nowhere, len(r.ends))
	if nowhere*4 > all*3 || len(r.ends) < manyPlaces {
		t.Error("too few of them show anything")
	}
}

// bootstrap is Envoy's configuration of a snapshot.
func bootstrap(t *testing.T, s *xds.Snapshot) []byte {
	t.Helper()
	encode := func(message proto.Message) json.RawMessage {
		encoded, err := protojson.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		return encoded
	}
	var listeners, clusters []json.RawMessage
	for _, listener := range s.Listeners {
		listeners = append(listeners, encode(listener))
	}
	for _, cluster := range s.Clusters {
		clusters = append(clusters, encode(cluster))
	}
	encoded, err := json.Marshal(map[string]any{
		"node":             map[string]any{"id": "match", "cluster": "match"},
		"admin":            map[string]any{"address": map[string]any{"socket_address": map[string]any{"address": testbed.StaticAddress, "port_value": 15000}}},
		"static_resources": map[string]any{"listeners": listeners, "clusters": clusters},
	})
	if err != nil {
		t.Fatal(err)
	}
	return encoded
}
