package fakecluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// Cluster is a cluster in memory.
type Cluster struct {
	// Client reads and writes past any cache.
	Client client.WithWatch
	Index  *policy.Index
	// Mesh answers from the index, which is never behind.
	Mesh     *mesh.Mesh
	Recorder *events.FakeRecorder
	Metrics  *metric.Set
	Registry *prometheus.Registry

	start time.Time
	store client.WithWatch

	mu     sync.Mutex
	admit  func(*unstructured.Unstructured) error
	fail   func(verb string, o client.Object) error
	writes []string
	uids   int
}

// Kinds are Istio's kinds.
func Kinds() mesh.Kinds {
	networking := schema.GroupVersion{Group: "networking.istio.io", Version: "v1"}
	return mesh.Kinds{Rule: networking.WithKind(object.KindDestinationRule), Route: networking.WithKind(object.KindVirtualService)}
}

// New returns a cluster with a FenceConfig, of which everything but apiVersion and kind is given, and with objects in YAML.
func New(t testing.TB, config string, objects ...string) *Cluster {
	t.Helper()
	c := &Cluster{
		Index: policy.NewIndex(Config(t, config)), Recorder: events.NewFakeRecorder(1000), Registry: prometheus.NewRegistry(), start: time.Now(),
	}
	var err error
	if c.Metrics, err = metric.New(c.Registry); err != nil {
		t.Fatal(err)
	}
	scheme := runtime.NewScheme() // of its own, because the client adds Istio's kinds to it
	if err := errors.Join(corev1.AddToScheme(scheme), discoveryv1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	kinds, builder := Kinds(), fake.NewClientBuilder().WithScheme(scheme)
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{kinds.Rule.GroupVersion(), corev1.SchemeGroupVersion})
	mapper.Add(kinds.Rule, meta.RESTScopeNamespace)
	mapper.Add(kinds.Route, meta.RESTScopeNamespace)
	for _, kind := range []string{object.KindService, object.KindNamespace, object.KindConfigMap, object.KindPod} {
		scope := meta.RESTScopeNamespace
		if kind == object.KindNamespace {
			scope = meta.RESTScopeRoot
		}
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), scope)
	}
	builder.WithRESTMapper(mapper).WithReturnManagedFields()
	c.store = builder.Build()
	c.Client = interceptor.NewClient(c.store, interceptor.Funcs{Create: c.create, Update: c.update, Patch: c.patch, Delete: c.delete})
	c.Mesh = &mesh.Mesh{Kinds: kinds, Index: c.Index}
	for _, o := range objects {
		c.Put(t, o)
	}
	return c
}

// Run runs a part of the controller until the test ends.
func Run(t testing.TB, part func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := part(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// Config parses a FenceConfig of which everything but apiVersion and kind is given.
func Config(t testing.TB, text string) *policy.Config {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{Rules: leak.IDs(leak.Rules())}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

// Object returns an object of YAML.
func Object(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// AdmitBy has a function change objects on their way to the store, or refuse them; nil makes the edits of policy.
func (c *Cluster) AdmitBy(admit func(*unstructured.Unstructured) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.admit = admit
}

// FailBy has a function return the errors of writes before anything is done; nil never does.
func (c *Cluster) FailBy(fail func(verb string, o client.Object) error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fail = fail
}

// Put stores an object of YAML past admission, as one from before meshfence, and takes it into the index.
func (c *Cluster) Put(t testing.TB, text string) *unstructured.Unstructured {
	t.Helper()
	u := Object(t, text)
	key := client.ObjectKeyFromObject(u)
	store, old := c.store, mesh.ObjectOf(u.GroupVersionKind())
	var err error
	if err = store.Get(t.Context(), key, old); err == nil {
		u.SetResourceVersion(old.GetResourceVersion())
		u.SetUID(old.GetUID())
		u.SetCreationTimestamp(old.GetCreationTimestamp())
		err = store.Update(t.Context(), u)
	} else {
		c.stamp(u)
		err = store.Create(t.Context(), u)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.take(u)
	return u
}

// Remove takes an object out of the store and the index.
func (c *Cluster) Remove(t testing.TB, gvk schema.GroupVersionKind, namespace, name string) {
	t.Helper()
	u := mesh.ObjectOf(gvk)
	u.SetNamespace(namespace)
	u.SetName(name)
	if err := c.store.Delete(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	c.forget(u)
}

// Get returns a stored object; nil where there is none.
func (c *Cluster) Get(t testing.TB, gvk schema.GroupVersionKind, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	u := mesh.ObjectOf(gvk)
	if err := c.Client.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, u); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	} else if err != nil {
		return nil
	}
	return u
}

// Writes returns what was written since it was called last: when, by the age of the cluster to a tenth of a second, how, and
// what.
func (c *Cluster) Writes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	writes := c.writes
	c.writes = nil
	return writes
}

// Events returns the reasons of the Events since it was called last.
func (c *Cluster) Events() []string {
	var reasons []string
	for len(c.Recorder.Events) > 0 {
		_, rest, _ := strings.Cut(<-c.Recorder.Events, " ")
		reason, _, _ := strings.Cut(rest, " ")
		reasons = append(reasons, reason)
	}
	return reasons
}

func (c *Cluster) log(verb string, o client.Object) {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	if _, ok := o.(*corev1.ConfigMap); ok {
		kind = object.KindConfigMap
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, fmt.Sprintf("%v %s %s %s/%s", time.Since(c.start).Round(100*time.Millisecond), verb, kind, o.GetNamespace(), o.GetName()))
}

func (c *Cluster) stamp(o client.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uids++
	o.SetUID(types.UID(fmt.Sprint("uid-", c.uids)))
	o.SetCreationTimestamp(metav1.NewTime(time.Now()))
}

// admitted makes the changes of admission.
func (c *Cluster) admitted(u *unstructured.Unstructured) error {
	c.mu.Lock()
	admit := c.admit
	c.mu.Unlock()
	if admit != nil {
		return admit(u)
	}
	decoded, err := mesh.Decode(u)
	if err != nil || decoded.Kind == object.KindConfigMap || u.GetDeletionTimestamp() != nil {
		return err
	}
	edits := mesh.Plan(decoded, c.Index.View()).Edits
	if len(edits) == 0 {
		return nil
	}
	return Edit(u, edits)
}

// Edit makes edits on an object.
func Edit(u *unstructured.Unstructured, edits []inject.Edit) error {
	raw, err := json.Marshal(u.Object)
	if err != nil {
		return err
	}
	if raw, err = admit.Apply(raw, edits); err != nil {
		return err
	}
	u.Object = nil
	return json.Unmarshal(raw, &u.Object)
}

func (c *Cluster) fails(verb string, o client.Object) error {
	c.mu.Lock()
	fail := c.fail
	c.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail(verb, o)
}

func (c *Cluster) create(ctx context.Context, store client.WithWatch, o client.Object, options ...client.CreateOption) error {
	if err := c.fails("create", o); err != nil {
		return err
	}
	c.stamp(o)
	return c.stored("create", o, func() error { return store.Create(ctx, o, options...) })
}

func (c *Cluster) update(ctx context.Context, store client.WithWatch, o client.Object, options ...client.UpdateOption) error {
	if err := c.fails("update", o); err != nil {
		return err
	}
	return c.stored("update", o, func() error { return store.Update(ctx, o, options...) })
}

// stored sends an unstructured object through admission, and writes it.
func (c *Cluster) stored(verb string, o client.Object, write func() error) error {
	u, ok := o.(*unstructured.Unstructured)
	if ok {
		if err := c.admitted(u); err != nil {
			return err
		}
	}
	if err := write(); err != nil {
		return err
	}
	if ok {
		c.take(u)
	}
	c.log(verb, o)
	return nil
}

// patch writes a patch, and then what admission makes of the whole object.
func (c *Cluster) patch(ctx context.Context, store client.WithWatch, o client.Object, patch client.Patch, options ...client.PatchOption) error {
	if err := c.fails("patch", o); err != nil {
		return err
	}
	kind := o.GetObjectKind().GroupVersionKind()
	if _, ok := o.(*corev1.ConfigMap); ok {
		kind = corev1.SchemeGroupVersion.WithKind(object.KindConfigMap)
	}
	if err := store.Patch(ctx, o, patch, options...); err != nil {
		return err
	}
	whole := mesh.ObjectOf(kind)
	if err := store.Get(ctx, client.ObjectKeyFromObject(o), whole); err != nil {
		return err
	}
	patched := whole.DeepCopy()
	if err := c.admitted(whole); err != nil {
		return err
	}
	changed := !equality.Semantic.DeepEqual(patched, whole)
	if err := store.Update(ctx, whole); err != nil {
		return err
	}
	if changed { // no watch tells of a patch that changes nothing
		c.take(whole)
	}
	c.log("patch", o)
	if err := store.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
		return err
	}
	o.GetObjectKind().SetGroupVersionKind(kind)
	return nil
}

func (c *Cluster) delete(ctx context.Context, store client.WithWatch, o client.Object, options ...client.DeleteOption) error {
	if err := c.fails("delete", o); err != nil {
		return err
	}
	if err := store.Delete(ctx, o, options...); err != nil {
		return err
	}
	c.forget(o)
	c.log("delete", o)
	return nil
}

// take takes an object of a kind that the index knows into it.
func (c *Cluster) take(u *unstructured.Unstructured) {
	switch u.GetKind() {
	case object.KindNamespace, object.KindService, object.KindDestinationRule, object.KindVirtualService:
		if kept, err := cluster.Keep(u.DeepCopy(), u.GetKind()); err == nil {
			c.Index.SetObject(kept)
		}
	}
}

func (c *Cluster) forget(o client.Object) {
	c.Index.DeleteObject(object.Key{Kind: o.GetObjectKind().GroupVersionKind().Kind, Namespace: o.GetNamespace(), Name: o.GetName()})
}
