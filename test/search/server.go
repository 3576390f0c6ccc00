package search

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"

	meshconfig "istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/model"
	istioxds "istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/cluster"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/kube"
	"istio.io/istio/pkg/kube/krt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// State is what istiod reads in the end.
type State struct {
	// Home is the cluster that istiod is in.
	Home string
	// Kubernetes are the objects of Kubernetes by cluster, Istio those of the home, in the order in which they were made.
	// Remote are the WorkloadEntries of the other cluster.
	Kubernetes    map[string][]Object
	Istio, Remote []madeObject
	// Local are the entries of the mesh config.
	Local []policy.ClusterLocalEntry
}

type madeObject struct {
	Object
	made int
}

// state returns what istiod reads now.
func (p *product) state() State {
	s := State{Home: p.home, Kubernetes: map[string][]Object{other(p.home): p.base.objects(other(p.home))}}
	all := make([]stored, 0, len(p.stored))
	for _, o := range p.stored {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b stored) int { return a.made - b.made })
	for _, o := range all {
		if _, istio := schemaOf(o.Object); istio {
			s.Istio = append(s.Istio, madeObject(o))
		} else {
			s.Kubernetes[p.home] = append(s.Kubernetes[p.home], o.Object)
		}
	}
	if p.index.Config().Holds.Has(policy.MeshConfig) {
		s.Local = p.index.ClusterLocal()
	}
	return s
}

// still says what of a state a server cannot change while it runs.
func (s State) still() string {
	text := fmt.Sprint(s.Home, s.Local)
	for _, of := range []string{near, far} {
		for _, o := range s.Kubernetes[of] {
			text += string(unmarked(o).raw())
		}
	}
	return text
}

// unmarked returns an object without what meshfence alone reads, such as the annotation of a fence.
func unmarked(o Object) Object {
	o = o.clone()
	own, _, _ := strings.Cut(policy.FenceKey, "/")
	for _, field := range []string{"annotations", "labels"} {
		given, _ := o.metadata()[field].(map[string]any)
		maps.DeleteFunc(given, func(key string, _ any) bool { return strings.HasPrefix(key, own+"/") })
		if len(given) == 0 {
			delete(o.metadata(), field)
		}
	}
	return o
}

// text says everything of a state.
func (s State) text() string {
	text := s.still()
	for _, o := range s.Kubernetes[s.Home] { // and what meshfence reads
		text += string(o.raw())
	}
	for _, list := range [][]madeObject{s.Istio, s.Remote} {
		for _, o := range list {
			text += fmt.Sprint(o.made, string(o.raw()))
		}
		text += "\n"
	}
	return text
}

// epoch is when the first object of a world was made.
func epoch() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func madeAt(n int) time.Time { return epoch().Add(time.Duration(n) * time.Second) }

// server is an istiod in this process whose Istio objects can be replaced.
type server struct {
	*istioxds.FakeDiscoveryServer
	failer *failer
	// home is what it is given as Istio's objects of its own cluster, remote the WorkloadEntries of the other one.
	home, remote *given
	turn         int
}

// failer takes the place of a test: what fails panics, and what is to be cleaned up waits for close.
type failer struct {
	mu       sync.Mutex
	cleanups []func()
	temp     func() string
}

// failed is what a failer panics with.
type failed string

func (f *failer) Fail()                             { panic(failed("failed")) }
func (f *failer) FailNow()                          { panic(failed("failed")) }
func (f *failer) Fatal(args ...any)                 { panic(failed(fmt.Sprint(args...))) }
func (f *failer) Fatalf(format string, args ...any) { panic(failed(fmt.Sprintf(format, args...))) }
func (f *failer) Log(...any)                        {}
func (f *failer) Logf(string, ...any)               {}
func (f *failer) TempDir() string                   { return f.temp() }
func (f *failer) Helper()                           {}
func (f *failer) Skip(...any)                       {}

// Cleanup has something done when the server is closed.
func (f *failer) Cleanup(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cleanups = append(f.cleanups, do)
}

func (f *failer) close() {
	for _, do := range slices.Backward(f.cleanups) {
		do()
	}
}

// The objects by which one sees that a server has read everything that was written before: they are in a namespace
// of their own that nobody imports, and change with every world.
const sentinel = "zz-sentinel"

// newServer starts an istiod with the objects of Kubernetes of a state, and none of Istio's but sentinels.
func newServer(s State, temp func() string) (*server, error) {
	m := mesh.DefaultMeshConfig()
	for _, e := range s.Local {
		m.ServiceSettings = append(m.ServiceSettings, &meshconfig.MeshConfig_ServiceSettings{
			Settings: &meshconfig.MeshConfig_ServiceSettings_Settings{ClusterLocal: e.Local}, Hosts: []string{e.Host},
		})
	}
	objects, err := typedObjects(s.Kubernetes[s.Home])
	if err != nil {
		return nil, err
	}
	abroad, err := typedObjects(s.Kubernetes[other(s.Home)])
	if err != nil {
		return nil, err
	}
	krt.GlobalDebugHandler = new(krt.DebugHandler) // it holds on to what every server before has made
	v := &server{failer: &failer{temp: temp}}
	v.FakeDiscoveryServer = istioxds.NewFakeDiscoveryServer(v.failer, istioxds.FakeOptions{
		DefaultClusterName: cluster.ID(s.Home), KubernetesObjects: objects, MeshConfig: m, KubeClientBuilder: v.failer.client,
	})
	v.home = newGiven(v.Store())
	return v, v.hear(cluster.ID(other(s.Home)), abroad, m)
}

// typedObjects returns objects of Kubernetes as their client knows them, and those of the sentinels.
func typedObjects(list []Object) ([]runtime.Object, error) {
	var objects []runtime.Object
	for i, o := range append(slices.Clone(list), selecting()...) {
		typed, err := typedOf(o, i)
		if err != nil {
			return nil, err
		}
		objects = append(objects, typed)
	}
	return objects, nil
}

// client returns a client of an API server that has these objects. They are not created one by one, which the client
// would build a mapping of all of Kubernetes for, each time.
func (f *failer) client(objects ...runtime.Object) kube.Client {
	c := kube.NewFakeClient()
	for _, o := range objects {
		if err := c.Kube().(*fake.Clientset).Tracker().Add(o); err != nil {
			f.Fatal(err)
		}
	}
	return c
}

// selectingHost is that of a Service of Kubernetes that chooses the WorkloadEntry of the sentinels.
const selectingHost = "selecting." + sentinel + ".svc." + domain

func selecting() []Object {
	return []Object{
		toObject(map[string]any{"apiVersion": "v1", "kind": object.KindNamespace, "metadata": map[string]any{"name": sentinel}}),
		toObject(map[string]any{
			"apiVersion": "v1", "kind": object.KindService,
			"metadata": map[string]any{"namespace": sentinel, "name": "selecting", "annotations": map[string]any{"networking.istio.io/exportTo": "."}},
			"spec":     map[string]any{"clusterIP": "10.96.9.9", "clusterIPs": []any{"10.96.9.9"}, "selector": map[string]any{"app": sentinel}, "ports": []any{map[string]any{"name": "http", "port": 9}}},
		}),
	}
}

// typedOf returns an object of Kubernetes as its client knows it.
func typedOf(o Object, made int) (runtime.Object, error) {
	var typed interface {
		runtime.Object
		SetCreationTimestamp(metav1Time)
	}
	switch o.Kind() {
	case object.KindNamespace:
		typed = &corev1.Namespace{}
	case object.KindService:
		typed = &corev1.Service{}
	case object.KindPod:
		typed = &corev1.Pod{}
	case object.KindEndpointSlice:
		typed = &discoveryv1.EndpointSlice{}
	case "Node":
		typed = &corev1.Node{}
	default:
		return nil, fmt.Errorf("%s is no kind that istiod is given", o.Kind())
	}
	if err := o.into(typed); err != nil {
		return nil, err
	}
	typed.SetCreationTimestamp(metav1Time{Time: madeAt(made)})
	return typed, nil
}

// give makes the objects of Istio's those of a state, and waits until everything that istiod derives from them is
// there.
func (v *server) give(s State) error {
	v.turn++
	if err := v.home.set(append(slices.Clone(s.Istio), v.sentinels()...)); err != nil {
		return err
	}
	if err := v.remote.set(append(slices.Clone(s.Remote), v.remoteSentinel())); err != nil {
		return err
	}
	if err := v.wait(); err != nil {
		return err
	}
	v.Discovery.ConfigUpdate(&model.PushRequest{Forced: true})
	v.EnsureSynced(v.failer)
	return nil
}

// turnAddress is an address that tells the turn, remoteTurnAddress that of the other cluster's sentinel.
func (v *server) turnAddress() string       { return v.turned(10) }
func (v *server) remoteTurnAddress() string { return v.turned(11) }

func (v *server) turned(first int) string {
	return fmt.Sprintf("%d.%d.%d.%d", first, 200+v.turn>>16&31, v.turn>>8&255, v.turn&255)
}

func sentinelOf(kind, name string, spec map[string]any) madeObject {
	return madeObject{toObject(map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": map[string]any{"namespace": sentinel, "name": name}, "spec": spec,
	}), 0}
}

func (v *server) sentinels() []madeObject {
	ports := []any{map[string]any{"number": 10000 + v.turn%40000, "name": "http", "protocol": "HTTP"}}
	return []madeObject{
		sentinelOf(object.KindServiceEntry, "static", map[string]any{"hosts": []any{"static.sentinel"}, "exportTo": []any{"."}, "ports": ports, "resolution": "STATIC", "endpoints": []any{map[string]any{"address": v.turnAddress()}}}),
		sentinelOf(object.KindServiceEntry, "selecting", map[string]any{"hosts": []any{"selecting.sentinel"}, "exportTo": []any{"."}, "ports": ports, "resolution": "STATIC", "workloadSelector": map[string]any{"labels": map[string]any{"app": sentinel}}}),
		sentinelOf(object.KindWorkloadEntry, "workload", map[string]any{"address": v.turnAddress(), "labels": map[string]any{"app": sentinel}}),
		sentinelOf(object.KindVirtualService, "route", map[string]any{"hosts": []any{fmt.Sprintf("v%d.sentinel", v.turn)}, "exportTo": []any{"."}, "http": []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": "static.sentinel"}}}}}}),
	}
}

func (v *server) remoteSentinel() madeObject {
	return sentinelOf(object.KindWorkloadEntry, "workload", map[string]any{"address": v.remoteTurnAddress(), "labels": map[string]any{"app": sentinel}})
}

// patience is how long a server may take to read what it was given.
const patience = 5 * time.Second

// wait returns when the sentinels have arrived everywhere.
func (v *server) wait() error { return until(v.arrived, "istiod has not read the objects") }

func (v *server) arrived() bool {
	for _, host := range []string{"static.sentinel", "selecting.sentinel"} {
		if !v.served(host) {
			return false
		}
	}
	if !v.leadsTo(selectingHost, v.turnAddress()) || !v.leadsTo(selectingHost, v.remoteTurnAddress()) {
		return false
	}
	want := fmt.Sprintf("v%d.sentinel", v.turn)
	for _, merged := range v.Env().VirtualServiceController.MergedVirtualServices() {
		if spec, ok := merged.Config.Spec.(*virtualService); ok && slices.Contains(spec.GetHosts(), want) {
			return true
		}
	}
	return false
}

func (v *server) served(host string) bool {
	service := v.Env().ServiceDiscovery.GetService(hostName(host))
	if service == nil || len(service.Ports) == 0 || service.Ports[0].Port != 10000+v.turn%40000 {
		return false
	}
	return v.leadsTo(host, v.turnAddress())
}

// leadsTo reports whether a host has an endpoint of that address.
func (v *server) leadsTo(host, address string) bool {
	shards, ok := v.Env().EndpointIndex.ShardsForService(host, sentinel)
	if !ok {
		return false
	}
	shards.RLock()
	defer shards.RUnlock()
	for _, endpoints := range shards.Shards {
		for _, e := range endpoints {
			if slices.Contains(e.Addresses, address) {
				return true
			}
		}
	}
	return false
}
