package companion_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"sigs.k8s.io/controller-runtime/pkg/controller"

	"github.com/meshfence/meshfence/test/fakecluster"
)

// TestController: whatever the companions of a Service depend on has them reconciled when it changes.
func TestController(t *testing.T) {
	t.Parallel()
	const far = "{apiVersion: v1, kind: Service, metadata: {name: far, namespace: shop}, spec: {ports: [{name: http, port: 80}]}}"
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, subsetConfig, reviews, far)
		ctl, err := b.reconciler.Controller(controller.Options{SkipNameValidation: new(true)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() {
			if err := ctl.Start(ctx); err != nil {
				t.Error(err)
			}
		})
		defer running.Wait()
		defer cancel()
		synctest.Wait() // for its handlers
		for _, step := range []struct {
			name   string
			change func()
			want   []string
		}{
			{"it starts", func() {},
				[]string{"create DestinationRule shop/reviews-meshfence", "create VirtualService shop/reviews-meshfence"}},
			{"a companion goes", func() {
				b.Remove(t, fakecluster.Kinds().Rule, "shop", "reviews-meshfence")
			}, []string{"create DestinationRule shop/reviews-meshfence"}},
			{"a user's route comes", func() { b.Put(t, userRoute) }, []string{"delete VirtualService shop/reviews-meshfence"}},
			{"it becomes one for another host", func() {
				b.Put(t, strings.Replace(userRoute, "hosts: [reviews]", "hosts: [ratings]", 1))
			}, []string{"create VirtualService shop/reviews-meshfence"}},
			{"a route leads to the subset", func() { b.Put(t, leading) }, nil},
			{"the Service is not strict any more", func() { b.Put(t, unfenced) }, []string{"delete VirtualService shop/reviews-meshfence"}},
			{"that route goes", func() {
				b.Remove(t, fakecluster.Kinds().Route, "shop", "front")
			}, []string{"delete DestinationRule shop/reviews-meshfence"}},
			{"the Namespace becomes strict", func() {
				b.Put(t, "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {meshfence.io/fence: strict}}}")
			}, []string{
				"create DestinationRule shop/far-meshfence", "create DestinationRule shop/reviews-meshfence",
				"create VirtualService shop/far-meshfence", "create VirtualService shop/reviews-meshfence",
			}},
			{"another hold is to keep them", func() {
				b.Index.SetConfig(fakecluster.Config(t, "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\n"))
			}, []string{
				"delete DestinationRule shop/far-meshfence", "delete DestinationRule shop/reviews-meshfence",
				"delete VirtualService shop/far-meshfence", "delete VirtualService shop/reviews-meshfence",
			}},
		} {
			step.change()
			time.Sleep(time.Hour)
			synctest.Wait()
			var got []string
			for _, write := range b.Writes() {
				_, what, _ := strings.Cut(write, " ")
				got = append(got, what)
			}
			slices.Sort(got)
			if diff := cmp.Diff(step.want, got); diff != "" {
				t.Errorf("%s: writes (-want +got):\n%s", step.name, diff)
			}
		}
	})
}
