package search

import (
	"fmt"
	"math/rand/v2"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// portKinds are names of ports by which Istio tells protocols, and the numbers that go with them in a world.
func portKinds() []Port {
	return []Port{{"http", 9080}, {"tcp", 9090}, {"grpc", 9070}, {"https", 9443}, {"tls", 9444}, {"", 9060}, {"http-web", 80}, {"tcp-db", 5432}, {"http2", 9081}, {"mysql", 3306}}
}

// newBase makes up what is in a world.
func newBase(r *rand.Rand) Base {
	holds := []policy.Holds{
		policy.HoldsOf(policy.MeshConfig), policy.HoldsOf(policy.MeshConfig), policy.HoldsOf(policy.MeshConfig),
		policy.HoldsOf(policy.Locality), policy.HoldsOf(policy.Locality),
		policy.HoldsOf(policy.Subset), policy.HoldsOf(policy.Subset),
		policy.HoldsOf(policy.MeshConfig, policy.Subset), policy.HoldsOf(policy.MeshConfig, policy.Locality), policy.HoldsOf(policy.Locality, policy.Subset),
	}
	b := Base{Holds: pick(r, holds), Namespaces: []string{"shop", "web"}}
	if chance(r, 0.5) {
		b.Namespaces = append(b.Namespaces, "app")
	}
	if chance(r, 0.15) {
		b.Default = policy.Strict
	}
	names := []string{"reviews", "ratings", "details"}
	for i := range pick(r, []int{1, 2, 2, 2, 3, 3}) {
		s := Service{Namespace: "shop", Name: names[i], Headless: i > 0 && chance(r, 0.1)}
		s.Fence = pick(r, []string{"strict", "strict", "strict", "none", "none", "none", "prefer", ""})
		if i == 0 {
			s.Fence = "strict"
		} else if chance(r, 0.4) {
			s.Namespace = pick(r, b.Namespaces)
		}
		if i > 0 && chance(r, 0.6) {
			s.Ports = b.Services[0].Ports
			b.Services = append(b.Services, s)
			continue
		}
		kinds := portKinds()
		for range 1 + r.IntN(3) {
			n := r.IntN(len(kinds))
			s.Ports = append(s.Ports, kinds[n])
			kinds = append(kinds[:n:n], kinds[n+1:]...)
		}
		if len(s.Ports) > 1 {
			for j, p := range s.Ports {
				if p.Name == "" { // names are required where there are several
					s.Ports[j].Name = "any"
				}
			}
		}
		b.Services = append(b.Services, s)
	}
	return b
}

func pick[T any](r *rand.Rand, of []T) T { return of[r.IntN(len(of))] }

func chance(r *rand.Rand, p float64) bool { return r.Float64() < p }

// podIP returns the address of the Pod of a Service in a cluster.
func podIP(cluster string, n int) string {
	if cluster == near {
		return fmt.Sprintf("10.1.0.%d", 5+n)
	}
	return fmt.Sprintf("10.2.0.%d", 5+n)
}

// ownNetwork is the network of the clients that have one.
const ownNetwork = "here"

// foreignIP is an address in the other cluster that no Pod of the base has.
const foreignIP = "10.2.9.9"

// ownIPOfNoPod is one in the near cluster that no Pod has: for clients of the other one it is elsewhere.
const ownIPOfNoPod = "10.1.9.9"

// serviceIP returns the address of a Service in a cluster; empty for a headless one.
func (b Base) serviceIP(cluster string, n int) string {
	if b.Services[n].Headless {
		return ""
	}
	if cluster == near {
		return fmt.Sprintf("10.96.0.%d", 5+n)
	}
	return fmt.Sprintf("10.97.0.%d", 5+n)
}

// addresses tells the clusters of addresses.
func addresses() map[netip.Prefix]string {
	return map[netip.Prefix]string{netip.MustParsePrefix("10.1.0.0/16"): near, netip.MustParsePrefix("10.2.0.0/16"): far}
}

// objects returns what the API server of a cluster has, as users wrote it: Services, and what the platform adds.
func (b Base) objects(cluster string) []Object {
	var objects []Object
	add := func(o any) { objects = append(objects, toObject(o)) }
	for _, name := range append([]string{rootNamespace}, b.Namespaces...) {
		add(&corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: object.KindNamespace}, ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	add(&corev1.Node{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Node"}, ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: map[string]string{
		corev1.LabelTopologyRegion: region(cluster), corev1.LabelTopologyZone: "zone",
	}}})
	for n := range b.Services {
		add(b.service(cluster, n))
		add(b.pod(cluster, n))
		add(b.slice(cluster, n))
	}
	return objects
}

func (b Base) service(cluster string, n int) *corev1.Service {
	s, ip := b.Services[n], b.serviceIP(cluster, n)
	if ip == "" {
		ip = corev1.ClusterIPNone
	}
	service := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: object.KindService},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, UID: "uid"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, Selector: map[string]string{"app": s.Name}},
	}
	if s.Fence != "" {
		service.Annotations = map[string]string{policy.FenceKey: s.Fence}
	}
	for _, p := range s.Ports {
		service.Spec.Ports = append(service.Spec.Ports, corev1.ServicePort{Name: p.Name, Port: int32(p.Number), TargetPort: intstr.FromInt32(int32(p.Number)), Protocol: corev1.ProtocolTCP})
	}
	return service
}

func (b Base) pod(cluster string, n int) *corev1.Pod {
	s, ip := b.Services[n], podIP(cluster, n)
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: object.KindPod},
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: map[string]string{"app": s.Name, "version": versionIn(cluster), "security.istio.io/tlsMode": "istio"}},
		Spec:       corev1.PodSpec{NodeName: "node"},
		Status: corev1.PodStatus{
			PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, Phase: corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

func versionIn(cluster string) string {
	if cluster == near {
		return "v1"
	}
	return "v2"
}

// sliceController is the controller of Kubernetes that makes EndpointSlices for selectors.
const sliceController = "endpointslice-controller.k8s.io"

func (b Base) slice(cluster string, n int) *discoveryv1.EndpointSlice {
	s := b.Services[n]
	slice := &discoveryv1.EndpointSlice{
		TypeMeta:    metav1.TypeMeta{APIVersion: "discovery.k8s.io/v1", Kind: object.KindEndpointSlice},
		ObjectMeta:  metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: s.Name, discoveryv1.LabelManagedBy: sliceController}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{podIP(cluster, n)}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}, NodeName: new("node"),
			TargetRef: &corev1.ObjectReference{Kind: object.KindPod, Namespace: s.Namespace, Name: s.Name},
		}},
	}
	for _, p := range s.Ports {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: new(p.Name), Port: new(int32(p.Number)), Protocol: new(corev1.ProtocolTCP)})
	}
	return slice
}
