package meshconfig_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/meshconfig"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/contest"
	"github.com/meshfence/meshfence/policy/hostname"
	meshtext "github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/test/fakecluster"
)

const (
	config  = "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\n"
	reviews = "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}}"
	plain   = "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: \"trustDomain: here\\n\"}}"
	// contradicting says of a strict host that every cluster serves it.
	contradicting = "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, data: {mesh: \"serviceSettings: [{settings: {clusterLocal: false}, hosts: [reviews.shop.svc.cluster.local]}]\\n\"}}"
)

// at is the time of every plan.
func at() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }

// entries are those of a strict Service.
type entries []policy.ClusterLocalEntry

func (e entries) ClusterLocal() []policy.ClusterLocalEntry       { return e }
func (e entries) FoldedClusterLocal() []policy.ClusterLocalEntry { return e }

// TestPlan decides what to do to a ConfigMap, by what it holds, who owns it and what was written before.
func TestPlan(t *testing.T) {
	t.Parallel()
	index := policy.NewIndex(fakecluster.Config(t, config))
	index.SetService(hostname.Host{Namespace: "shop", Name: "reviews"}, map[string]string{policy.FenceKey: "strict"})
	strict := entries(index.ClusterLocal())
	inLine, err := meshconfig.PlanFor(configMap("trustDomain: here\n", ""), "cluster.local", strict, "meshfence")
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		object *corev1.ConfigMap
		scope  meshtext.Scope
		writes int
		want   meshconfig.Action
		left   []string
	}{
		"nothing is strict":                     {configMap("trustDomain: here\n", ""), entries(nil), 0, meshconfig.Leave, nil},
		"something is":                          {configMap("trustDomain: here\n", ""), strict, 0, meshconfig.Bring, nil},
		"it is in line":                         {configMap(inLine.Text, inLine.Owned), strict, 0, meshconfig.Leave, nil},
		"the entries are not known as ours":     {configMap(inLine.Text, ""), entries(nil), 0, meshconfig.Leave, nil},
		"it has entries of ours without a hold": {configMap(inLine.Text, inLine.Owned), nil, 0, meshconfig.Bring, nil},
		"we own a part of it":                   {configMap(inLine.Text, inLine.Owned, "helm", "meshfence"), strict, 0, meshconfig.Disown, []string{"helm"}},
		"we own a part of what is to change":    {configMap("trustDomain: here\n", "", "helm", "meshfence"), strict, 0, meshconfig.Bring, []string{"helm"}},
		"we own all of it":                      {configMap(inLine.Text, inLine.Owned, "meshfence"), strict, 0, meshconfig.Leave, nil},
		"somebody else keeps writing":           {configMap("trustDomain: here\n", "", "meshfence"), strict, 20, meshconfig.Rest, nil},
		"somebody else wrote twice":             {configMap("trustDomain: here\n", ""), strict, 2, meshconfig.Bring, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan, err := meshconfig.PlanFor(test.object, "cluster.local", test.scope, "meshfence")
			if err != nil {
				t.Fatal(err)
			}
			var past contest.Record
			for range test.writes {
				past.Wrote(plan.Owned, at())
			}
			var left []string
			for _, owner := range plan.Disowned {
				left = append(left, owner.Manager)
			}
			if diff := cmp.Diff(test.left, left); diff != "" || plan.Action(&past, at()) != test.want {
				t.Errorf("action %q, want %q; owners (-want +got):\n%s", plan.Action(&past, at()), test.want, diff)
			}
		})
	}
	if _, err := meshconfig.PlanFor(configMap("- a list\n", ""), "cluster.local", strict, "meshfence"); err == nil {
		t.Error("a text that is no mesh config must be an error")
	}
}

func configMap(text, owned string, managers ...string) *corev1.ConfigMap {
	o := &corev1.ConfigMap{Data: map[string]string{meshtext.Key: text}}
	if owned != "" {
		o.Annotations = map[string]string{meshtext.ClusterLocalHostsAnnotation: owned}
	}
	for _, manager := range managers {
		o.ManagedFields = append(o.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager})
	}
	return o
}

// bed is a keeper that runs on a cluster.
type bed struct {
	*fakecluster.Cluster

	// changed tells the keeper of changes of the ConfigMaps that it watches, by name.
	changed map[string]func()
	watch   fakecluster.Fault
	// known are the entries that admission knows of, if that is not the index.
	known atomic.Pointer[entries]
	live  *fakecluster.Reader
}

// start runs a keeper until the test ends, once the cluster is prepared.
func start(t *testing.T, before func(*bed), objects ...string) *bed {
	t.Helper()
	b := &bed{Cluster: fakecluster.New(t, config, append([]string{"{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"}, objects...)...), changed: map[string]func(){}}
	b.AdmitBy(b.admit)
	before(b)
	b.live = &fakecluster.Reader{Reader: b.Client}
	keeper := meshconfig.New(meshconfig.Options{
		Index: b.Index, Reader: b.live, Writer: b.Client, FieldOwner: "meshfence", Recorder: b.Recorder, Metrics: b.Metrics, Resync: time.Hour,
		Watch: func(ctx context.Context, running *sync.WaitGroup, key client.ObjectKey, changed func()) error {
			if err := b.watch.Err(); err != nil {
				return err
			}
			b.changed[key.Name] = changed
			running.Go(func() { <-ctx.Done() })
			return nil
		},
	})
	fakecluster.Run(t, keeper.Run)
	return b
}

// lag has admission know of changes that much later.
func (b *bed) lag(lag time.Duration) {
	b.Index.Subscribe(func(policy.Change) {
		known := entries(b.Index.ClusterLocal())
		time.AfterFunc(lag, func() { b.known.Store(&known) })
	})
}

// admit puts the entries into a mesh ConfigMap as admission does.
func (b *bed) admit(u *unstructured.Unstructured) error {
	raw, err := json.Marshal(u.Object)
	if err != nil {
		return err
	}
	var object corev1.ConfigMap
	if err := json.Unmarshal(raw, &object); err != nil {
		return err
	}
	var scope meshtext.Scope
	if c := b.Index.Config(); c.Holds.Has(policy.MeshConfig) {
		for _, name := range c.MeshConfigMaps {
			if name == u.GetName() {
				scope = b.Index
				if known := b.known.Load(); known != nil {
					scope = *known
				}
			}
		}
	}
	plan, err := meshtext.PlanFor(object.Data, object.Annotations, "cluster.local", scope)
	if err != nil {
		return err
	}
	annotations := u.GetAnnotations()
	delete(annotations, meshtext.ClusterLocalHostsAnnotation)
	if plan.Owned != "" {
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[meshtext.ClusterLocalHostsAnnotation] = plan.Owned
	}
	u.SetAnnotations(annotations)
	return unstructured.SetNestedField(u.Object, plan.Text, "data", meshtext.Key)
}

// text returns what a ConfigMap holds.
func (b *bed) text(t *testing.T, name string) string {
	t.Helper()
	u := b.Get(t, corev1.SchemeGroupVersion.WithKind("ConfigMap"), "istio-system", name)
	if u == nil {
		return ""
	}
	text, _, _ := unstructured.NestedString(u.Object, "data", meshtext.Key)
	return text
}

// crowded is a ConfigMap of which others have taken most.
func crowded() string {
	return strings.Replace(plain, ", data: {", `, data: {meshNetworks: "`+strings.Repeat("x", meshtext.Limit*4/5)+`", `, 1)
}

// TestRun: the ConfigMaps follow the scope, by way of admission where that answers, and what is in the way is told once.
func TestRun(t *testing.T) {
	t.Parallel()
	const patch = "patch ConfigMap istio-system/istio"
	type step struct {
		name   string
		change func(t *testing.T, b *bed)
		writes []string
		events []string
		held   bool
	}
	nothing := func(*testing.T, *bed) {}
	for name, test := range map[string]struct {
		objects []string
		before  func(b *bed)
		steps   []step
	}{
		"a Service is strict, and is strict no more": {[]string{reviews, plain}, func(*bed) {}, []step{
			{"held", nothing, []string{"0s " + patch}, nil, true},
			{"nothing changes", nothing, nil, nil, true},
			{"somebody takes the entries out", func(t *testing.T, b *bed) { t.Helper(); b.Put(t, plain); b.changed["istio"]() }, []string{"2m0.2s " + patch}, nil, true},
			{"it is strict no more", func(t *testing.T, b *bed) { t.Helper(); b.Put(t, strings.Replace(reviews, "strict", "none", 1)) }, []string{"3m0.2s " + patch}, nil, false},
		}},
		"the config names another ConfigMap": {[]string{reviews, plain, strings.Replace(plain, "name: istio,", "name: canary,", 1)}, func(*bed) {}, []step{
			{"held", nothing, []string{"0s " + patch}, nil, true},
			{"renamed", func(t *testing.T, b *bed) {
				t.Helper()
				b.Index.SetConfig(fakecluster.Config(t, strings.Replace(config, "[m1c1]", "[m1c1], meshConfigMaps: [canary]", 1)))
			}, []string{"1m0.2s patch ConfigMap istio-system/canary", "1m0.2s " + patch}, nil, false},
		}},
		"the hold is given up": {[]string{reviews, plain}, func(*bed) {}, []step{
			{"held", nothing, []string{"0s " + patch}, nil, true},
			{"given up", func(t *testing.T, b *bed) {
				t.Helper()
				b.Index.SetConfig(fakecluster.Config(t, strings.Replace(config, "meshConfig", "subset", 1)))
			}, []string{"1m0.2s " + patch}, nil, false},
		}},
		"admission does nothing": {[]string{reviews, plain}, func(b *bed) { b.AdmitBy(func(*unstructured.Unstructured) error { return nil }) }, []step{
			{"the controller writes", nothing, []string{"0s " + patch, "300ms " + patch, "300ms " + patch, "300ms " + patch}, []string{"WroteMeshConfig"}, true},
		}},
		"there is no ConfigMap": {[]string{reviews}, func(*bed) {}, []step{
			{"told once", nothing, nil, []string{"ScopeNotHeld"}, false},
			{"it comes", func(t *testing.T, b *bed) { t.Helper(); b.Put(t, plain); b.changed["istio"]() }, []string{"1m0.2s " + patch}, nil, true},
		}},
		"a write fails": {[]string{reviews, plain}, func(b *bed) { b.FailBy(func(string, client.Object) error { return errors.New("no") }) }, []step{
			{"told once", nothing, nil, []string{"ScopeNotHeld"}, false},
			{"it does not any more", func(_ *testing.T, b *bed) { b.FailBy(nil) }, []string{"1m1.6s " + patch}, nil, true},
		}},
		"somebody else was faster": {[]string{reviews, plain}, func(b *bed) {
			b.FailBy(func(string, client.Object) error {
				b.FailBy(nil)
				return apierrors.NewConflict(schema.GroupResource{}, "istio", errors.New("no"))
			})
		}, []step{{"nothing is told", nothing, []string{"2.2s " + patch}, nil, true}}},
		"an entry contradicts": {[]string{reviews, contradicting}, func(*bed) {}, []step{
			{"told once", nothing, []string{"0s " + patch}, []string{"ContradictsScope"}, true},
			{"nothing changes", func(_ *testing.T, b *bed) { b.changed["istio"]() }, nil, nil, true},
		}},
		"it is nearly full": {[]string{reviews, crowded()}, func(*bed) {}, []step{
			{"told once", nothing, []string{"0s " + patch}, []string{"NearlyFull"}, true},
			{"nothing changes", func(_ *testing.T, b *bed) { b.changed["istio"]() }, nil, nil, true},
			{"there is room", func(t *testing.T, b *bed) { t.Helper(); b.Put(t, plain); b.changed["istio"]() }, []string{"2m0.2s " + patch}, nil, true},
			{"there is none again", func(t *testing.T, b *bed) { t.Helper(); b.Put(t, crowded()); b.changed["istio"]() }, []string{"3m0.2s " + patch}, []string{"NearlyFull"}, true},
		}},
		"it cannot be watched": {[]string{reviews, plain}, func(b *bed) { b.watch.Set(errors.New("no")) }, []step{
			{"nothing is written", nothing, nil, nil, false},
			{"it can", func(_ *testing.T, b *bed) { b.watch.Set(nil) }, []string{"1m1.6s " + patch}, nil, true},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := start(t, test.before, test.objects...)
				for _, step := range test.steps {
					step.change(t, b)
					time.Sleep(time.Minute)
					synctest.Wait()
					if diff := cmp.Diff(step.writes, b.Writes()); diff != "" {
						t.Errorf("%s: writes (-want +got):\n%s", step.name, diff)
					}
					if diff := cmp.Diff(step.events, b.Events()); diff != "" {
						t.Errorf("%s: Events (-want +got):\n%s", step.name, diff)
					}
					if held := strings.Contains(strings.ReplaceAll(b.text(t, "istio"), `"`, ""), "clusterLocal: true"); held != step.held {
						t.Errorf("%s: holds the scope: %t, want %t:\n%s", step.name, held, step.held, b.text(t, "istio"))
					}
				}
			})
		})
	}
}

// TestContested: of two who do not agree about the text, the controller writes ever more slowly, and says so once.
func TestContested(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(*bed) {}, reviews, plain)
		var events []string
		writes := 0
		for range 3600 {
			time.Sleep(time.Second)
			synctest.Wait()
			writes += len(b.Writes())
			events = append(events, b.Events()...)
			if strings.Contains(b.text(t, "istio"), "clusterLocal") {
				b.Put(t, plain)
				b.changed["istio"]()
			}
		}
		if diff := cmp.Diff([]string{"ScopeNotHeld"}, events[:min(1, len(events))]); diff != "" || writes < 5 || writes > 25 {
			t.Errorf("%d writes in an hour, Events (-want +got):\n%s", writes, fmt.Sprint(diff, events))
		}
	})
}

// TestBurst: however many Services change within seconds, istiod gets a few pushes, and the last change waits no longer than
// from one to the next; also where the replica that answers lags behind.
func TestBurst(t *testing.T) {
	t.Parallel()
	const services, every = 1000, 5 * time.Millisecond
	for name, lag := range map[string]time.Duration{"in step": 0, "behind": 300 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := start(t, func(b *bed) { b.lag(lag) }, plain)
				time.Sleep(time.Minute)
				for i := range services {
					b.Put(t, strings.ReplaceAll(reviews, "reviews", fmt.Sprint("reviews-", i)))
					time.Sleep(every)
				}
				time.Sleep(2*time.Second + lag)
				synctest.Wait()
				if got := strings.Count(b.text(t, "istio"), ".shop.svc.cluster.local"); got != services {
					t.Errorf("%d entries, want %d", got, services)
				}
				if writes := b.Writes(); len(writes) > 5 {
					t.Errorf("%d Services, %d writes: %v", services, len(writes), writes)
				}
				if events := b.Events(); len(events) > 0 {
					t.Errorf("Events %v", events)
				}
			})
		})
	}
}

// TestReads: a ConfigMap is read when it changes, when its entries do, and now and then.
func TestReads(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, func(*bed) {}, reviews, plain)
		time.Sleep(time.Minute)
		for _, step := range []struct {
			name   string
			change func()
			wait   time.Duration
			reads  bool
		}{
			{"a Service that asks for nothing", func() { b.Put(t, "{apiVersion: v1, kind: Service, metadata: {name: open, namespace: shop}}") }, time.Minute, false},
			{"a strict one", func() { b.Put(t, strings.Replace(reviews, "name: reviews", "name: ratings", 1)) }, time.Minute, true},
			{"the ConfigMap", func() { b.changed["istio"]() }, time.Minute, true},
			{"nothing", func() {}, time.Minute, false},
			{"nothing for long", func() {}, time.Hour, true},
		} {
			before := b.live.Reads()
			step.change()
			time.Sleep(step.wait)
			synctest.Wait()
			if got := b.live.Reads() > before; got != step.reads {
				t.Errorf("%s: read: %t, want %t", step.name, got, step.reads)
			}
		}
	})
}
