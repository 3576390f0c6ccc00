package backfill_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/controller/backfill"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fakecluster"
)

// crowded returns a cluster with so many rules and routes of other Services, and with few that may speak of shop/reviews.
func crowded(t *testing.T, others int) *fakecluster.Cluster {
	t.Helper()
	c := fakecluster.New(t, subsetConfig, shop)
	set := func(kind, name, spec string) {
		o, err := object.Decode(kind, []byte(fmt.Sprintf(`{"metadata": {"namespace": "shop", "name": %q}, "spec": %s}`, name, spec)))
		if err != nil {
			t.Fatal(err)
		}
		c.Index.SetObject(o)
	}
	for i := range others {
		c.Index.SetService(hostname.Host{Namespace: "other", Name: fmt.Sprint("s", i)}, nil)
		host := fmt.Sprintf("s%d.other.svc.cluster.local", i)
		set(object.KindDestinationRule, fmt.Sprint("s", i), fmt.Sprintf(`{"host": %q}`, host))
		set(object.KindVirtualService, fmt.Sprint("s", i), fmt.Sprintf(`{"hosts": [%[1]q], "http": [{"route": [{"destination": {"host": %[1]q}}]}]}`, host))
	}
	set(object.KindDestinationRule, "own", `{"host": "reviews"}`)
	set(object.KindDestinationRule, "wildcard", `{"host": "*.shop.svc.cluster.local"}`)
	set(object.KindDestinationRule, "any", `{"host": "*"}`)
	set(object.KindVirtualService, "leads", `{"hosts": ["front.example"], "http": [{"route": [{"destination": {"host": "reviews"}}]}]}`)
	set(object.KindServiceEntry, "entry", `{"hosts": ["reviews.shop.svc.cluster.local"]}`)
	return c
}

// TestPassLooksAtWhatChanged: the work of a pass over a Service is that of the objects that may speak of it, however many
// others there are. It counts allocations, and so runs alone.
func TestPassLooksAtWhatChanged(t *testing.T) {
	type work struct {
		visited     int
		allocations float64
	}
	var works []work
	for _, others := range []int{100, 10_000} {
		c, change := crowded(t, others), policy.Change{Namespace: "shop", Service: "reviews"}
		works = append(works, work{
			backfill.Visited(c.Mesh, change),
			testing.AllocsPerRun(10, func() { backfill.Visited(c.Mesh, change) }),
		})
		if got, want := backfill.Visited(c.Mesh, policy.Change{}), 2*others+4; got != want {
			t.Errorf("a pass over everything visits %d objects, want %d", got, want)
		}
	}
	if works[0].visited != 4 || works[1].visited != 4 || works[1].allocations > works[0].allocations {
		t.Errorf("with 100 and with 10,000 others: %+v, want the same and 4 objects", works)
	}
}

// TestNewService: a Service that asks for nothing costs no request, and neither does a fenced one that has been
// through admission.
func TestNewService(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		service string
		want    []string
	}{
		"it asks for nothing": {"{apiVersion: v1, kind: Service, metadata: {name: ratings, namespace: shop}}", nil},
		"it is strict, and marked": {"{apiVersion: v1, kind: Service, metadata: {name: ratings, namespace: shop, " +
			"labels: {meshfence.io/fenced: strict}, annotations: {meshfence.io/fence: strict, meshfence.io/fenced-by: service annotation}}}", nil},
		"it is not strict any more": {"{apiVersion: v1, kind: Service, metadata: {name: ratings, namespace: shop, " +
			"labels: {meshfence.io/fenced: strict}}}", []string{"patch Service shop/ratings"}},
		"it is strict, from before meshfence": {"{apiVersion: v1, kind: Service, metadata: {name: ratings, namespace: shop, " +
			"annotations: {meshfence.io/fence: strict}}}", []string{"patch Service shop/ratings"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := start(t, meshConfig)
				synctest.Wait()
				b.Put(t, test.service)
				time.Sleep(time.Minute)
				synctest.Wait()
				var got []string
				for _, write := range b.Writes() {
					_, what, _ := strings.Cut(write, " ")
					got = append(got, what)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("writes (-want +got):\n%s", diff)
				}
			})
		})
	}
}
