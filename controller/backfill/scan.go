package backfill

import (
	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// scan looks at the objects of the index that a set of Services may touch, and at some more by their keys, and returns how
// they differ, and at which it has looked.
func (b *Backfill) scan(s change.Set, objects map[object.Key]bool) (found differences, looked func(object.Key) bool) {
	touched := b.touched(s, objects)
	for _, o := range touched {
		if !mesh.Is(o) || mesh.IsCompanion(o) || b.progress.behind(o) {
			continue
		}
		if d := inspect(o, b.Mesh.Index); d != nil {
			found[d.step] = append(found[d.step], d)
		}
	}
	for _, host := range b.unmarked(s, objects) {
		found[label] = append(found[label], unmarked(host))
	}
	return found, func(key object.Key) bool {
		_, is := touched[key]
		return s.All || is || objects[key] || key.Kind == object.KindService && s.Has(hostname.Host{Namespace: key.Namespace, Name: key.Name})
	}
}

// touched returns the objects that name a Service of the set, as their own host or as a destination, or have a wildcard
// that covers one; and those of the keys, nil for one that is gone.
func (b *Backfill) touched(s change.Set, keys map[object.Key]bool) map[object.Key]*object.Object {
	found := map[object.Key]*object.Object{}
	add := func(list []*object.Object) {
		for _, o := range list {
			found[o.Key()] = o
		}
	}
	view := b.Mesh.Index.View()
	for key := range keys {
		if key.Kind != object.KindService {
			found[key], _ = view.Object(key)
		}
	}
	if s.All {
		add(b.Mesh.All())
		return found
	}
	for namespace := range s.Namespaces {
		add(view.Routing(namespace))
	}
	for host := range s.Services {
		if !s.Namespaces[host.Namespace] {
			add(b.Mesh.About(host.FQDN(view.Config().ClusterDomain)))
		}
	}
	return found
}

// unmarked lists the Services of the set, and of the keys, that lack their marks.
func (b *Backfill) unmarked(s change.Set, keys map[object.Key]bool) []hostname.Host {
	index := b.Mesh.Index
	if s.All {
		return index.Unmarked(hostname.Host{})
	}
	var hosts []hostname.Host
	for namespace := range s.Namespaces {
		hosts = append(hosts, index.Unmarked(hostname.Host{Namespace: namespace})...)
	}
	for host := range s.Services {
		if !s.Namespaces[host.Namespace] {
			hosts = append(hosts, index.Unmarked(host)...)
		}
	}
	for key := range keys {
		if host := (hostname.Host{Namespace: key.Namespace, Name: key.Name}); key.Kind == object.KindService && !s.Has(host) {
			hosts = append(hosts, index.Unmarked(host)...)
		}
	}
	return hosts
}

// changed asks for what an object that was set or deleted makes necessary: that it is brought in line, and where others
// wait for it, or a route makes a rule need a subset, that the Services that it names are.
func (b *Backfill) changed(old, now *object.Object) {
	o := now
	if o == nil {
		o = old
	}
	if !mesh.Is(o) || mesh.IsCompanion(o) {
		return
	}
	b.progress.seen(o.Key())
	config := b.Mesh.Index.Config()
	// With several clusters a rule gets a reserved subset when a route names it.
	names := len(config.Clusters) > 1 && len(b.Mesh.Reserved(o)) > 0
	waits := b.progress.waiting(o.Key())
	if names || waits {
		for _, name := range b.Mesh.Named(o) {
			if c, ok := changeOf(name, config.ClusterDomain); ok {
				b.inbox.Put(c)
			}
		}
	}
	if names || waits || now != nil && !b.progress.undone(o.Key()) && inspect(now, b.Mesh.Index) != nil {
		b.inbox.PutObject(o.Key())
	}
}

// changeOf returns a change of the Services that a host may be of; ok is false where it is of none.
func changeOf(name, domain string) (c policy.Change, ok bool) {
	host, ok := hostname.Parse(name, domain)
	suffix, wildcard := hostname.Wildcard(name)
	if !wildcard {
		return policy.Change{Namespace: host.Namespace, Service: host.Name}, ok
	}
	within, _ := hostname.Parse("any"+suffix, domain)
	return policy.Change{Namespace: within.Namespace}, true
}
