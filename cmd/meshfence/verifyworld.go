package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/pager"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/xds"
)

// world is what the objects of a cluster, or manifests, say about whom to ask and for what.
type world struct {
	domain  string
	hosts   []xds.Host
	clients *clientKinds
	// cluster is the id of the cluster that the objects are of; empty where that is not certain.
	cluster string
	view    *policy.View
	index   *policy.Index
	// headless are the addresses of the Pods of fenced Services that have none themselves, by FQDN.
	headless map[string][]netip.Addr
	// unread are the kinds that the user of the kubeconfig may not list.
	unread []string
}

func newWorld(index *policy.Index) *world {
	config := index.Config()
	w := &world{
		domain: config.ClusterDomain, index: index, view: index.View(), headless: map[string][]netip.Addr{},
		clients: newClientKinds(config.ClusterDomain, config.IstioNamespace),
	}
	if len(config.Clusters) == 1 {
		w.cluster = config.Clusters[0]
	}
	return w
}

// worldKinds are those that are read, Services before what belongs to them.
func worldKinds() []schema.GroupKind {
	kinds := []schema.GroupKind{{Kind: object.KindNamespace}, {Kind: object.KindService}, {Group: "discovery.k8s.io", Kind: object.KindEndpointSlice}}
	for _, kind := range []string{"Sidecar", "DestinationRule", "VirtualService", "ServiceEntry", "Gateway", "EnvoyFilter"} {
		kinds = append(kinds, schema.GroupKind{Group: "networking.istio.io", Kind: kind})
	}
	for _, kind := range []string{"HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"} {
		kinds = append(kinds, schema.GroupKind{Group: "gateway.networking.k8s.io", Kind: kind})
	}
	return append(kinds,
		schema.GroupKind{Group: "telemetry.istio.io", Kind: "Telemetry"}, schema.GroupKind{Group: "extensions.istio.io", Kind: "WasmPlugin"})
}

// ofManifests reads the objects among manifests.
func (f *verifyFlags) ofManifests(in io.Reader) (*world, error) {
	f.scene.namespace = "default" // of the objects that name none
	f.scene.config = f.cluster.config
	scene, err := f.scene.load(in)
	if err != nil {
		return nil, err
	}
	w := newWorld(scene.index)
	for _, kind := range worldKinds() {
		for _, m := range scene.manifests {
			if m.groupKind() != kind {
				continue
			}
			if err := w.add(kind.Kind, m.ObjectMeta, m.json); err != nil {
				return nil, fmt.Errorf("%s: %w", m.place, err)
			}
		}
	}
	w.finish()
	return w, nil
}

// ofCluster reads the objects of the cluster of the kubeconfig.
func (f *verifyFlags) ofCluster(ctx context.Context) (*world, error) {
	auditor, api, err := f.cluster.scope(ctx)
	if err != nil {
		return nil, err
	}
	w := newWorld(auditor.Index)
	for _, kind := range worldKinds() {
		if kind.Kind == object.KindEndpointSlice && len(w.headless) == 0 {
			continue
		}
		if err := w.tolerate(kind.Kind, eachOf(ctx, api, kind, w.add)); err != nil {
			return nil, err
		}
	}
	if err := w.tolerate("Pod", w.podNetworks(ctx, api)); err != nil {
		return nil, err
	}
	w.finish()
	return w, nil
}

// tolerate notes what may not be read: it only says what else could be asked.
func (w *world) tolerate(kind string, err error) error {
	if apierrors.IsForbidden(err) {
		w.unread = append(w.unread, kind)
		return nil
	}
	return err
}

// eachOf reads the objects of a kind page by page; a kind that the cluster does not have has none.
func eachOf(ctx context.Context, api client.Client, kind schema.GroupKind, add func(string, metav1.ObjectMeta, []byte) error) error {
	mapping, err := api.RESTMapper().RESTMapping(kind)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for %s: %w", kind.Kind, err)
	}
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(mapping.GroupVersionKind.GroupVersion().WithKind(kind.Kind + "List"))
		return list, api.List(ctx, list, &client.ListOptions{Limit: o.Limit, Continue: o.Continue})
	})
	err = pages.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		object, ok := o.(*unstructured.Unstructured)
		if !ok {
			return fmt.Errorf("an item is %T", o)
		}
		encoded, err := object.MarshalJSON()
		if err != nil {
			return err
		}
		return add(kind.Kind, metav1.ObjectMeta{
			Namespace: object.GetNamespace(), Name: object.GetName(), Labels: object.GetLabels(), Annotations: object.GetAnnotations(),
		}, encoded)
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", kind.Kind, err)
	}
	return nil
}

// podNetworks reads the networks that Pods claim by label.
func (w *world) podNetworks(ctx context.Context, api client.Client) error {
	pages := pager.New(func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		list := &metav1.PartialObjectMetadataList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		return list, api.List(ctx, list, client.HasLabels{networkLabel}, &client.ListOptions{Limit: o.Limit, Continue: o.Continue})
	})
	err := pages.EachListItem(ctx, metav1.ListOptions{}, func(o runtime.Object) error {
		if pod, ok := o.(*metav1.PartialObjectMetadata); ok {
			w.clients.network(pod.Labels)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list Pods: %w", err)
	}
	return nil
}

// add reads one object.
func (w *world) add(kind string, obj metav1.ObjectMeta, encoded []byte) error {
	w.clients.network(obj.Labels)
	switch kind {
	case object.KindService:
		decoded, err := object.Decode(kind, encoded)
		if err != nil {
			return err
		}
		w.service(hostname.Host{Namespace: obj.Namespace, Name: obj.Name}, obj, *decoded.Service)
		return nil
	case object.KindEndpointSlice:
		return w.pods(obj, encoded)
	case object.KindDestinationRule, object.KindServiceEntry:
		decoded, err := object.Decode(kind, encoded)
		if err != nil {
			return err
		}
		w.index.SetObject(decoded) // what makes prefer do nothing
	}
	return w.clients.add(kind, obj, encoded)
}

func (w *world) service(host hostname.Host, object metav1.ObjectMeta, spec object.ServiceSpec) {
	w.clients.service(object)
	fence := w.view.Service(host, object.Annotations).Fence
	if fence == policy.None {
		return
	}
	w.clients.owner(host.Namespace)
	fenced := xds.Host{FQDN: host.FQDN(w.domain), Fence: fence}
	for _, text := range append([]string{spec.ClusterIP}, spec.ClusterIPs...) {
		if address, err := netip.ParseAddr(text); err == nil && !slices.Contains(fenced.Addresses, address) {
			fenced.Addresses = append(fenced.Addresses, address)
		}
	}
	for _, port := range spec.Ports {
		fenced.Ports = append(fenced.Ports, uint16(port.Port))
	}
	if spec.ClusterIP == "None" {
		w.headless[fenced.FQDN] = nil
	}
	w.hosts = append(w.hosts, fenced)
}

// pods notes the addresses of the Pods of a headless Service.
func (w *world) pods(obj metav1.ObjectMeta, encoded []byte) error {
	host := hostname.Host{Namespace: obj.Namespace, Name: obj.Labels[discoveryv1.LabelServiceName]}.FQDN(w.domain)
	if _, ok := w.headless[host]; !ok {
		return nil
	}
	decoded, err := object.Decode(object.KindEndpointSlice, encoded)
	if err != nil {
		return err
	}
	for _, endpoint := range decoded.EndpointSlice.Endpoints {
		for _, text := range endpoint.Addresses {
			if address, err := netip.ParseAddr(text); err == nil {
				w.headless[host] = append(w.headless[host], address)
			}
		}
	}
	return nil
}

// finish sorts the hosts, leaves one of each name, and gives them their Pods.
func (w *world) finish() {
	slices.SortStableFunc(w.hosts, func(a, b xds.Host) int { return strings.Compare(a.FQDN, b.FQDN) })
	w.hosts = slices.CompactFunc(w.hosts, func(a, b xds.Host) bool { return a.FQDN == b.FQDN })
	for i := range w.hosts {
		w.hosts[i].Pods = w.headless[w.hosts[i].FQDN]
	}
}

// podPlaces are the clusters of the Pods of headless Services: that of the objects.
func (w *world) podPlaces() xds.Addresses {
	places := xds.Addresses{}
	if w.cluster == "" {
		return places
	}
	for _, pods := range w.headless {
		for _, pod := range pods {
			places[netip.PrefixFrom(pod, pod.BitLen())] = w.cluster
		}
	}
	return places
}
