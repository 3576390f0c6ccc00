package cluster_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy/object"
)

// TestCostOfWatch: to read a rule takes at most a third of the allocations that a tree of it takes alone.
func TestCostOfWatch(t *testing.T) {
	const most = 1. / 3
	text := []byte(wideRule(27, 1))
	decode, full := cluster.DecodeSent(), &unstructured.Unstructured{}
	count := func(read func() error) float64 {
		return testing.AllocsPerRun(20, func() {
			if err := read(); err != nil {
				t.Fatal(err)
			}
		})
	}
	view := count(func() error {
		_, err := decode(text)
		return err
	})
	tree := count(func() error { return full.UnmarshalJSON(text) })
	if view > most*tree {
		t.Errorf("%.0f allocations, and %.0f for a tree", view, tree)
	}
	t.Logf("%.0f allocations, and %.0f for a tree", view, tree)
}

// wideRule is a rule with so many subsets that have settings of their own.
func wideRule(subsets, version int) string {
	const subset = `{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 100, "connectTimeout": "30ms"},
		"http": {"http2MaxRequests": 1000}}, "outlierDetection": {"consecutive5xxErrors": 7, "interval": "30s", "baseEjectionTime": "60s"}}}`
	return fmt.Sprintf(`{"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"namespace": "shop", "name": "cart", "resourceVersion": "%d"},
		"spec": {"host": "cart", "subsets": [%s]}}`, version, strings.Join(slices.Repeat([]string{subset}, subsets), ","))
}

// BenchmarkWatch is what a change of a rule costs a replica, the API server's part of the wire among it.
func BenchmarkWatch(b *testing.B) {
	k := storedKinds()[object.KindDestinationRule]
	for _, subsets := range []int{4, 27} {
		b.Run(fmt.Sprintf("%d-subsets", subsets), func(b *testing.B) {
			s := &apiServer{storedKind: k, streams: true, objects: []string{wideRule(subsets, 1)}}
			for i := range b.N {
				s.later = append(s.later, event("MODIFIED", wideRule(subsets, i+2)))
			}
			c, informer := newCache(b, k, s)
			last, changed := make(chan struct{}), 0
			_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{UpdateFunc: func(any, any) {
				if changed++; changed == b.N {
					close(last)
				}
			}})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			start(b, c)
			<-last
		})
	}
}
