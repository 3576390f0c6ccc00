package mesh

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// Mesh answers from the DestinationRules and VirtualServices of an index, which must not be written to.
type Mesh struct {
	Kinds

	Index *policy.Index
}

// Is reports whether an object is one that the Mesh answers from. What could not be decoded is none.
func Is(o *object.Object) bool {
	return o != nil && (o.DestinationRule != nil || o.VirtualService != nil)
}

// IsCompanion reports whether an object is one of ours; any other of such a name is a user's.
func IsCompanion(o *object.Object) bool {
	return inject.IsCompanion(o.Metadata.Name, o.Metadata.Labels)
}

// GVK returns that of one of the two kinds.
func (m *Mesh) GVK(kind string) schema.GroupVersionKind {
	if kind == object.KindDestinationRule {
		return m.Rule
	}
	return m.Route
}

// All returns all objects, sorted by key.
func (m *Mesh) All() []*object.Object {
	view := m.Index.View()
	var all []*object.Object
	for _, key := range m.Index.Objects() {
		if o, _ := view.Object(key); Is(o) {
			all = append(all, o)
		}
	}
	return all
}

// About returns the objects that name a host, or a wildcard that covers it, as their own or as a destination, sorted by
// key. For a wildcard it returns all.
func (m *Mesh) About(fqdn string) []*object.Object {
	if _, wildcard := hostname.Wildcard(fqdn); wildcard {
		return m.All()
	}
	return slices.DeleteFunc(m.Index.View().Covering(fqdn), func(o *object.Object) bool { return !Is(o) })
}

// resolve returns hosts in an object as Istio compares them.
func (m *Mesh) resolve(o *object.Object, hosts ...string) []string {
	domain := m.Index.Config().ClusterDomain
	resolved := make([]string, len(hosts))
	for i, host := range hosts {
		resolved[i] = strings.ToLower(hostname.Resolve(host, o.Metadata.Namespace, domain))
	}
	return resolved
}

// Hosts returns the hosts for which an object is: that of a DestinationRule, or those of a VirtualService.
func (m *Mesh) Hosts(o *object.Object) []string {
	if o.DestinationRule != nil {
		return m.resolve(o, o.DestinationRule.Host)
	}
	return m.resolve(o, o.VirtualService.Hosts...)
}

// Named returns the hosts by which admission decides what an object needs: its own, and those that it sends traffic to.
func (m *Mesh) Named(o *object.Object) []string {
	named := m.Hosts(o)
	if o.VirtualService != nil {
		for _, d := range o.VirtualService.Destinations() {
			named = append(named, m.resolve(o, d.Host)...)
		}
	}
	return named
}

// Reserved returns the hosts whose reserved subset a user's VirtualService names, or a user's DestinationRule has.
func (m *Mesh) Reserved(o *object.Object) []string {
	switch {
	case IsCompanion(o):
	case o.VirtualService != nil:
		var reserved []string
		for _, d := range o.VirtualService.Destinations() {
			if policy.IsReservedSubset(d.Subset) {
				reserved = append(reserved, m.resolve(o, d.Host)...)
			}
		}
		return reserved
	case inject.HasReserved(o.DestinationRule, m.Index.Config()):
		return m.Hosts(o)
	}
	return nil
}

// Replaces reports whether an object takes the place of a Service's companion of its kind.
func (m *Mesh) Replaces(o *object.Object, host hostname.Host) bool {
	return slices.Contains(inject.Replaced(o, m.Index.Config().ClusterDomain), host)
}

// Covers reports whether a host of a DestinationRule, which may be a wildcard, is for another host.
func Covers(rule, host string) bool {
	suffix, wildcard := hostname.Wildcard(rule)
	return rule == host || wildcard && strings.HasSuffix(host, suffix)
}

// LeadTo lists the VirtualServices, companions apart, that send traffic to the reserved subset of a DestinationRule with
// that host.
func (m *Mesh) LeadTo(rule string) []object.Key {
	var found []object.Key
	for _, o := range m.About(rule) {
		if o.VirtualService != nil && slices.ContainsFunc(m.Reserved(o), func(host string) bool { return Covers(rule, host) }) {
			found = append(found, o.Key())
		}
	}
	return found
}

// Plan returns what admission would do to an object: nothing to one that is exempt.
func Plan(o *object.Object, view *policy.View) inject.Plan {
	if view.Config().Namespace(o.Metadata.Namespace, nil).Service("", nil).Exempt {
		return inject.Plan{}
	}
	return inject.Object(o, view)
}

// Decode returns an object that was read from the API server as policy reads it. The object is unstructured, or the
// metadata of one of which nothing else counts.
func Decode(o client.Object) (*object.Object, error) {
	kind := o.GetObjectKind().GroupVersionKind().Kind
	switch o := o.(type) {
	case *metav1.PartialObjectMetadata:
		return &object.Object{Kind: kind, Metadata: object.Metadata{
			Namespace: o.Namespace, Name: o.Name, UID: string(o.UID), Labels: o.Labels, Annotations: o.Annotations,
		}}, nil
	case *unstructured.Unstructured:
		raw, err := json.Marshal(o.Object)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", kind, err)
		}
		return object.Decode(kind, raw)
	}
	return nil, fmt.Errorf("decode %T: neither metadata nor unstructured", o)
}

// Whole returns a companion as it is stored.
func Whole(companion *object.Object) (*unstructured.Unstructured, error) {
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(companion.Whole); err != nil {
		return nil, fmt.Errorf("decode companion %s %s/%s: %w", companion.Kind, companion.Metadata.Namespace, companion.Metadata.Name, err)
	}
	return u, nil
}
