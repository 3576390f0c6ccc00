package policy

import (
	"maps"
	"slices"
	"strings"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// inventory holds the objects that can let the traffic of a Service out, by the hosts that they name, so that
// whichever of two related objects comes second is judged.
type inventory struct {
	mu      sync.RWMutex
	objects map[object.Key]filed
	// byName holds the keys by the names of the objects; a wildcard is under its suffix in byWildcard.
	byName, byWildcard map[string]map[object.Key]bool
	// open counts the ServiceEntries by the ports on which they have sidecars listen on every address, and listeners the
	// Sidecars by those for which they have listeners that take whatever comes to them.
	open, listeners tally[int64]
	// selectors counts the Gateways by the name for all labels by which they choose Pods.
	selectors tally[string]
	watchers  []*func(old, now *object.Object)
}

// filed is an object and the names that it is under, those of the cluster domain at that time.
type filed struct {
	*object.Object
	names []string
}

// tally counts what objects have in common, by what that is.
type tally[K comparable] map[K]int

func (t tally[K]) add(key K, by int) {
	if t[key] += by; t[key] == 0 {
		delete(t, key)
	}
}

// count adds an object to what is counted of its kind, or takes it off.
func (i *inventory) count(f filed, by int) {
	switch {
	case f.Object == nil:
	case f.ServiceEntry != nil:
		for _, p := range f.ServiceEntry.OpenPorts() {
			i.open.add(p.Number, by)
		}
	case f.Sidecar != nil:
		for _, number := range f.Sidecar.OpenPorts() {
			i.listeners.add(number, by)
		}
	case f.Gateway != nil && len(f.Gateway.Selector) > 0:
		i.selectors.add(gatewayNames(f.Object)[0], by)
	}
}

// SetObject adds or replaces an object: a Namespace, a Service, or one of a kind that namesOf knows. The object must not be
// written to.
func (x *Index) SetObject(o *object.Object) {
	switch host := (hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}); {
	case o.Kind == object.KindNamespace:
		x.SetNamespace(o.Metadata.Name, o.Metadata.Labels)
		return
	case o.Service != nil:
		x.SetMarks(host, MarksOf(o.Metadata.Labels, o.Metadata.Annotations))
		x.SetService(host, o.Metadata.Annotations)
		x.SetServiceSpec(host, *o.Service)
		x.SetUID(host, o.Metadata.UID)
		return
	}
	f := filed{o, namesOf(o, x.Config())}
	x.inventory.change(o.Key(), func(i *inventory) {
		if i.objects == nil {
			i.objects, i.byName, i.byWildcard = map[object.Key]filed{}, map[string]map[object.Key]bool{}, map[string]map[object.Key]bool{}
			i.open, i.listeners, i.selectors = tally[int64]{}, tally[int64]{}, tally[string]{}
		}
		i.objects[o.Key()] = f
		i.count(f, 1)
		i.places(f, func(set map[string]map[object.Key]bool, name string) {
			if set[name] == nil {
				set[name] = map[object.Key]bool{}
			}
			set[name][o.Key()] = true
		})
	})
}

// DeleteObject forgets an object of such a kind.
func (x *Index) DeleteObject(k object.Key) {
	switch k.Kind {
	case object.KindNamespace:
		x.DeleteNamespace(k.Name)
	case object.KindService:
		x.DeleteService(hostname.Host{Namespace: k.Namespace, Name: k.Name})
	default:
		x.inventory.change(k, func(*inventory) {})
	}
}

// change takes out what is under a key, lets put do its work, and tells the watchers.
func (i *inventory) change(k object.Key, put func(*inventory)) {
	i.mu.Lock()
	old := i.objects[k].Object
	i.places(i.objects[k], func(set map[string]map[object.Key]bool, name string) {
		if delete(set[name], k); len(set[name]) == 0 {
			delete(set, name)
		}
	})
	i.count(i.objects[k], -1)
	delete(i.objects, k)
	put(i)
	now, watchers := i.objects[k].Object, i.watchers
	i.mu.Unlock()
	if old == nil && now == nil {
		return
	}
	for _, watcher := range watchers {
		(*watcher)(old, now)
	}
}

// WatchObjects calls f after an object was set or deleted, in the goroutine that did it, with what it was and what it is;
// one of the two may be nil. It must be quick, and may use the index. The function returned ends that; a call that has
// begun may end after it.
func (x *Index) WatchObjects(f func(old, now *object.Object)) (cancel func()) {
	i := &x.inventory
	i.mu.Lock()
	defer i.mu.Unlock()
	i.watchers = append(slices.Clone(i.watchers), &f)
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.watchers = slices.DeleteFunc(slices.Clone(i.watchers), func(other *func(old, now *object.Object)) bool { return other == &f })
	}
}

// Objects lists the keys of all objects, sorted.
func (x *Index) Objects() []object.Key {
	x.inventory.mu.RLock()
	defer x.inventory.mu.RUnlock()
	return slices.SortedFunc(maps.Keys(x.inventory.objects), object.Key.Compare)
}

// ObjectsIn lists the keys of the objects in a Namespace, in no order. It passes by those of all others.
func (x *Index) ObjectsIn(namespace string) []object.Key {
	x.inventory.mu.RLock()
	defer x.inventory.mu.RUnlock()
	var keys []object.Key
	for key := range x.inventory.objects {
		if key.Namespace == namespace {
			keys = append(keys, key)
		}
	}
	return keys
}

// places visits where the key of an object is.
func (i *inventory) places(f filed, visit func(set map[string]map[object.Key]bool, name string)) {
	for _, name := range f.names {
		if suffix, ok := hostname.Wildcard(name); ok {
			visit(i.byWildcard, suffix)
		} else {
			visit(i.byName, name)
		}
	}
}

// list returns the objects of the keys, sorted by key.
func (i *inventory) list(keys map[object.Key]bool) []*object.Object {
	if len(keys) == 0 {
		return nil
	}
	objects := make([]*object.Object, 0, len(keys))
	for _, key := range slices.SortedFunc(maps.Keys(keys), object.Key.Compare) {
		objects = append(objects, i.objects[key].Object)
	}
	return objects
}

// find returns the objects that have one of the hosts or a wildcard for one, or one of the other names, sorted by key.
func (i *inventory) find(hosts []string, names ...string) []*object.Object {
	i.mu.RLock()
	defer i.mu.RUnlock()
	found := map[object.Key]bool{}
	for _, host := range hosts {
		maps.Copy(found, i.byName[host])
		for at := range len(host) + 1 {
			maps.Copy(found, i.byWildcard[host[at:]])
		}
	}
	for _, name := range names {
		maps.Copy(found, i.byName[name])
	}
	return i.list(found)
}

// named returns the objects that have one of the names, sorted by key.
func (v *View) named(names ...string) []*object.Object {
	return v.index.inventory.find(nil, names...)
}

// Object returns an object of the inventory.
func (v *View) Object(k object.Key) (*object.Object, bool) {
	v.index.inventory.mu.RLock()
	defer v.index.inventory.mu.RUnlock()
	f, ok := v.index.inventory.objects[k]
	return f.Object, ok
}

// Related returns the objects of the inventory that name a Service in any way, that may catch what is for one of its
// ports, or that choose workloads in its Namespace, sorted by key.
func (v *View) Related(h hostname.Host) []*object.Object {
	short := h.Name + "." + h.Namespace
	names := []string{h.Name}
	for _, p := range v.backendOf(h).ports {
		names = append(names, portName(int64(p.number)), listenerName(int64(p.number)))
	}
	return v.index.inventory.find([]string{short, short + ".svc", h.FQDN(v.config.ClusterDomain)}, names...)
}

// backendOf returns what the view knows of a Service.
func (v *View) backendOf(h hostname.Host) backend {
	b, _ := v.knownBackend(h)
	return b
}

// knownBackend does the same, and reports whether it knows the spec of the Service.
func (v *View) knownBackend(h hostname.Host) (b backend, known bool) {
	if b, told := v.backends[h]; told {
		return b, true
	}
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	if n, ok := v.index.namespaces[h.Namespace]; ok {
		b, known = n.backends.byName[h.Name]
	}
	return b, known
}

// Covering returns the objects of the inventory that name a host, as [hostname.Resolve] returns it, or a wildcard that
// covers it, sorted by key.
func (v *View) Covering(host string) []*object.Object {
	return v.index.inventory.find([]string{strings.ToLower(strings.TrimSuffix(host, "."))})
}

// Delegators returns the VirtualServices that leave routes to a VirtualService, sorted by key.
func (v *View) Delegators(k object.Key) []*object.Object {
	i := &v.index.inventory
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.list(i.byName[delegateName(k.Namespace, k.Name)])
}

// delegateName is among the names of a VirtualService for another that it leaves routes to. No host looks
// like it.
func delegateName(namespace, name string) string { return "delegate/" + namespace + "/" + name }

// namesOf lists what an object may be found by: the hosts that it names as Istio compares them, in lower case, a
// bare name of a ServiceEntry as it is, and the wildcard of its Namespace where it chooses workloads there.
func namesOf(o *object.Object, config *Config) []string {
	namespace, domain := o.Metadata.Namespace, config.ClusterDomain
	var list []string
	add := func(host string) {
		list = append(list, hostname.Canonical(hostname.Resolve(host, namespace, domain)))
	}
	service := func(h hostname.Host) { list = append(list, h.FQDN(domain)) }
	switch {
	case o.DestinationRule != nil:
		add(o.DestinationRule.Host)
		for _, in := range config.within(list) {
			list = append(list, routesName+in)
		}
	case o.VirtualService != nil:
		for _, host := range o.VirtualService.Claims() {
			add(host)
		}
		for _, in := range config.within(list) {
			list = append(list, routesName+in)
		}
		to := len(list)
		for d := range o.VirtualService.Targets() {
			add(d.Host)
		}
		into := config.within(list[to:])
		for _, in := range into {
			list = append(list, routesName+in)
		}
		if o.VirtualService.RoutesConnections() {
			list = append(list, connectionsName)
		}
		if o.VirtualService.TLSNetwork() {
			list = append(list, tlsNetworkName)
		}
		if leadsElsewhere(o, config) {
			list = append(list, leadsName)
			for _, in := range into {
				list = append(list, leadsName+in)
			}
		}
		list = slices.Concat(list, shortNamed(o.VirtualService.Hosts), takenGateways(o))
		if o.VirtualService.ClaimsAddress() {
			add("*.svc." + domain)
		}
		for _, d := range o.VirtualService.Delegates(namespace) {
			list = append(list, delegateName(d.Namespace, d.Name))
		}
	case o.ServiceEntry != nil:
		for _, host := range o.ServiceEntry.Hosts {
			add(host)
			list = append(list, strings.ToLower(host))
			if h, ok := hostname.Searched(host, domain); ok {
				service(h)
			}
			if services, _, ok := hostname.SearchedUnder(host, domain); ok {
				list = append(list, services)
			}
			if _, ok := hostname.SearchDomain(host, domain); ok {
				list = append(list, shortName)
			}
		}
		list = append(list, shortNamed(o.ServiceEntry.Hosts)...)
		for _, p := range o.ServiceEntry.OpenPorts() {
			list = append(list, portName(p.Number))
		}
		for _, p := range o.ServiceEntry.BarePorts() {
			list = append(list, bareName(p.Number))
		}
		if o.ServiceEntry.TLSNetwork() {
			list = append(list, tlsNetworkName)
		}
		if o.ServiceEntry.WorkloadSelector != nil {
			add("*." + namespace + ".svc." + domain)
		}
		if o.ServiceEntry.ClaimsAddress() {
			add("*.svc." + domain)
		}
	case (o.Kind == object.KindEnvoyFilter || o.Extension != nil) && namespace == config.IstioNamespace, // it is for every workload
		o.ProxyConfig != nil && len(o.ProxyConfig.EnvironmentVariables) > 0:
		add("*.svc." + domain)
	case o.WorkloadEntry != nil, o.WorkloadGroup != nil, o.Kind == object.KindEnvoyFilter, o.Extension != nil:
		add("*." + namespace + ".svc." + domain)
	case o.Sidecar != nil:
		list = append(list, sidecarNames(o, config)...)
		if proxy := o.Sidecar.EgressProxy(); proxy != nil {
			add(proxy.Host)
		}
	case o.Gateway != nil:
		list = append(list, gatewayNames(o)...)
		for _, server := range o.Gateway.Servers {
			for _, host := range server.Hosts {
				_, name, found := strings.Cut(host, "/")
				if !found {
					name = host
				}
				add(name)
			}
		}
	case o.EndpointSlice != nil:
		if name := o.Metadata.Labels[discoveryv1.LabelServiceName]; name != "" {
			service(hostname.Host{Namespace: namespace, Name: name})
		}
	case o.Kind == object.KindServiceExport:
		service(hostname.Host{Namespace: namespace, Name: o.Metadata.Name})
	case o.Ingress != nil:
		for _, name := range o.Ingress.Backends() {
			service(hostname.Host{Namespace: namespace, Name: name})
		}
	case o.APIGateway != nil:
		list = append(list, gatewayNames(o)...)
	case o.Route != nil:
		for _, host := range o.Parents() {
			service(host)
		}
		for _, name := range o.GatewayHostnames() {
			add(name)
		}
		for _, ref := range o.Route.Backends() {
			if host, ok := ref.Import(namespace); ok {
				service(host)
			} else if name, ok := ref.Hostname(); ok {
				add(name)
			} else {
				host, _ := ref.Service(namespace)
				service(host)
			}
		}
	case o.BackendTLSPolicy != nil:
		for _, ref := range o.BackendTLSPolicy.TargetRefs {
			host, _ := ref.Service(namespace)
			service(host)
		}
	}
	list = append(list, throughNames(o)...)
	slices.Sort(list)
	return slices.Compact(list)
}
