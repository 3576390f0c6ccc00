package audit

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// lists has a Namespace listed of which many Services have changed.
func lists(changes change.Set) {
	counts := map[string]int{}
	for host := range changes.Services {
		if counts[host.Namespace]++; counts[host.Namespace] > singly {
			changes.Namespaces[host.Namespace] = true
		}
	}
}

// touched lists the Services that changes may touch. One that stands for any other of its Namespace is among those of a whole
// one.
func touched(index *policy.Index, changes change.Set) map[hostname.Host]bool {
	services := maps.Clone(changes.Services)
	for namespace := range changes.Namespaces {
		services[hostname.Host{Namespace: namespace, Name: "*"}] = true
		for _, host := range index.Fenced(namespace, policy.None, policy.Prefer, policy.Strict) {
			services[host] = true
		}
	}
	return services
}

// named lists Services that have changed, and those that are other names of them.
func named(view *policy.View, services map[hostname.Host]bool) []hostname.Host {
	all := maps.Clone(services)
	for host := range services {
		for _, alias := range view.Aliases(host.FQDN(view.Config().ClusterDomain)) {
			all[alias] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), hostname.Host.Compare)
}

// concerned lists the stored objects that are to be judged again: those that have changed, those that name Services that
// have, and those that are read through them, or lead to them.
func concerned(view *policy.View, objects map[object.Key]bool, services map[hostname.Host]bool) []object.Key {
	changed, all := maps.Clone(objects), map[object.Key]bool{}
	for host := range services {
		for _, o := range view.Related(host) {
			changed[o.Key()] = true
		}
	}
	for key := range changed {
		all[key] = true
		others := view.ReadThrough(key)
		if key.Kind == object.KindVirtualService {
			others = append(slices.Clone(others), view.Delegators(key)...)
		}
		for _, o := range others {
			all[o.Key()] = true
		}
	}
	return slices.SortedFunc(maps.Keys(all), object.Key.Compare)
}

// findings are those that nobody has accepted.
func (s Result) findings() []leak.Finding { return slices.Concat(s.Denied, s.Warned, s.Audited) }

// since lists the findings that were not there before. The message is part of one: an Event must not go on stating a reason
// that has changed.
func (s Result) since(old Result) []leak.Finding {
	known := map[[4]string]bool{}
	for _, f := range old.findings() {
		known[identity(f)] = true
	}
	return slices.DeleteFunc(s.findings(), func(f leak.Finding) bool { return known[identity(f)] })
}

func identity(f leak.Finding) [4]string {
	return [4]string{f.Rule, f.Field(), f.Host.Host, f.Message()}
}

// withoutEndpoint lists the strict Services that have no ready endpoint here, so that calls fail, and a note for each
// Namespace in which there are some that were not known.
func withoutEndpoint(services []FencedService, known map[object.Key]bool) (all map[object.Key]bool, notes map[string]string) {
	all, notes = map[object.Key]bool{}, map[string]string{}
	names, fresh := map[string][]string{}, map[string]bool{}
	for _, s := range services {
		if s.Ready > 0 || s.Fence != policy.Strict.String() {
			continue
		}
		key := object.Key{Kind: object.KindService, Namespace: s.Namespace, Name: s.Name}
		all[key] = true
		names[s.Namespace] = append(names[s.Namespace], s.Name)
		fresh[s.Namespace] = fresh[s.Namespace] || !known[key]
	}
	for namespace := range fresh {
		if fresh[namespace] {
			notes[namespace] = withoutEndpointNote(names[namespace])
		}
	}
	return all, notes
}

// maxNamed is how many Services a note names.
const maxNamed = 10

// withoutEndpointNote says the same of the same Services in whatever order they come.
func withoutEndpointNote(names []string) string {
	slices.Sort(names)
	list := strings.Join(names[:min(len(names), maxNamed)], ", ")
	if more := len(names) - maxNamed; more > 0 {
		list += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("strict Services without a ready endpoint in this cluster, calls to which fail: %d (%s)", len(names), list)
}
