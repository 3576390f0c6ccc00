package controller_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache/informertest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/test/fakecluster"
)

// TestTogether: parts run until the context ends or one fails, and all have ended by then.
func TestTogether(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	for name, test := range map[string]struct {
		fails  bool // one part, after a minute
		cancel time.Duration
		want   error
		after  time.Duration
	}{
		"the context ends":               {cancel: time.Hour, after: time.Hour + time.Second},
		"one fails":                      {fails: true, cancel: time.Hour, want: no, after: time.Minute + time.Second},
		"the context ends before it can": {fails: true, cancel: time.Second, after: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(test.cancel, cancel)
				var ended atomic.Int64
				rest := func(ctx context.Context) error {
					<-ctx.Done()
					time.Sleep(time.Second) // it has something to finish
					ended.Add(1)
					return nil
				}
				failing := func(ctx context.Context) error {
					select {
					case <-ctx.Done():
						return nil
					case <-time.After(time.Minute):
						return no
					}
				}
				parts := []func(context.Context) error{rest, rest}
				if test.fails {
					parts = append(parts, failing)
				}
				start := time.Now()
				err := controller.Together(ctx, parts...)
				if !errors.Is(err, test.want) || time.Since(start) != test.after || ended.Load() != 2 {
					t.Errorf("error %v after %v, %d ended; want %v after %v, 2", err, time.Since(start), ended.Load(), test.want, test.after)
				}
			})
		})
	}
}

// TestEnded: an error counts unless the context has ended.
func TestEnded(t *testing.T) {
	t.Parallel()
	no := errors.New("no")
	ctx, cancel := context.WithCancel(t.Context())
	if err := controller.Ended(ctx, no); !errors.Is(err, no) {
		t.Errorf("while the context runs: %v", err)
	}
	cancel()
	if err := controller.Ended(ctx, no); err != nil {
		t.Errorf("after the context has ended: %v", err)
	}
}

// manager is what the controller takes of one.
type manager struct {
	ctrl.Manager

	*fakecluster.Cluster
	live      *fakecluster.Reader
	informers *informertest.FakeInformers
}

func newManager(t *testing.T, objects ...string) *manager {
	t.Helper()
	c := fakecluster.New(t, "controlPlane: {clusters: [m1c1]}\nholds: [subset]\n", objects...)
	return &manager{
		Cluster: c, live: &fakecluster.Reader{Reader: c.Client},
		informers: &informertest.FakeInformers{Scheme: c.Client.Scheme(), Synced: new(true)},
	}
}

func (m *manager) GetAPIReader() client.Reader                    { return m.live }
func (m *manager) GetClient() client.Client                       { return m.Client }
func (m *manager) GetCache() cache.Cache                          { return m.informers }
func (m *manager) GetRESTMapper() meta.RESTMapper                 { return m.Client.RESTMapper() }
func (m *manager) GetLogger() logr.Logger                         { return logr.Discard() }
func (m *manager) GetControllerOptions() config.Controller        { return config.Controller{} }
func (m *manager) GetEventRecorder(string) recorder.EventRecorder { return m.Recorder }

// TestKeepObjects: the parts that keep objects begin once the index has those of Istio, make companions, bring objects in
// line, and end with the term of leadership, after which another may begin.
func TestKeepObjects(t *testing.T) {
	t.Parallel()
	const (
		shop    = "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"
		reviews = "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}, spec: {ports: [{name: http, port: 80}]}}"
		ratings = "{apiVersion: v1, kind: Service, metadata: {name: ratings, namespace: shop, annotations: {meshfence.io/fence: strict}}, spec: {ports: [{name: http, port: 80}]}}"
		open    = "{apiVersion: v1, kind: Service, metadata: {name: open, namespace: shop}}"
		rule    = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: users, namespace: shop}, spec: {host: ratings}}"
	)
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, shop, reviews, ratings, rule)
		var indexed atomic.Bool
		o := controller.Options{
			Index: m.Index, Settle: time.Second,
			HasObjects: func(...string) bool { return indexed.Load() },
		}
		for term, want := range [][]string{
			{
				"create DestinationRule shop/reviews-meshfence", "create VirtualService shop/ratings-meshfence", "create VirtualService shop/reviews-meshfence",
				"patch DestinationRule shop/users", "patch Service shop/ratings", "patch Service shop/reviews",
			},
			nil,
		} {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- controller.KeepObjects(ctx, m, o, m.Metrics) }()
			if time.Sleep(time.Minute); term == 0 && m.Writes() != nil {
				t.Error("it writes before the index has Istio's objects")
			}
			indexed.Store(true)
			time.Sleep(time.Minute)
			var got []string
			for _, write := range m.Writes() {
				_, what, _ := strings.Cut(write, " ")
				got = append(got, what)
			}
			slices.Sort(got)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("term %d: writes (-want +got):\n%s", term, diff)
			}
			before := m.live.Reads()
			m.Put(t, open)
			time.Sleep(time.Minute)
			if got := m.live.Reads() - before; got != 0 || m.Writes() != nil {
				t.Errorf("term %d: %d reads because of a Service that asks for nothing", term, got)
			}
			m.Remove(t, corev1.SchemeGroupVersion.WithKind("Service"), "shop", "open")
			cancel()
			if err := <-ended; err != nil {
				t.Errorf("term %d: %v", term, err)
			}
		}
	})
}
