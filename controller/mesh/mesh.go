package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// Mesh answers from the cache of DestinationRules and VirtualServices.
type Mesh struct {
	Kinds

	Index *policy.Index
	// Objects reads from the cache.
	Objects client.Reader
}

// List returns the cached objects of a kind in a namespace, or in all where it is empty. They must not be written to.
func (m *Mesh) List(ctx context.Context, gvk schema.GroupVersionKind, namespace string, options ...client.ListOption) ([]unstructured.Unstructured, error) {
	list := ListOf(gvk)
	if err := m.Objects.List(ctx, list, append(options, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list cached %s: %w", gvk.Kind, err)
	}
	return list.Items, nil
}

// About returns the cached objects of a kind, in the Namespace of a Service, that name a host which begins with its name.
func (m *Mesh) About(ctx context.Context, gvk schema.GroupVersionKind, host hostname.Host) ([]unstructured.Unstructured, error) {
	return m.List(ctx, gvk, host.Namespace, client.MatchingFields{ByName: host.Name})
}

// IsCompanion reports whether an object is one of ours; any other of such a name is a user's.
func IsCompanion(u *unstructured.Unstructured) bool {
	return inject.IsCompanion(u.GetName(), u.GetLabels())
}

// Differs reports whether admission would have changed a cached object when the cache took it in.
func Differs(u *unstructured.Unstructured) bool {
	differs, _, _ := unstructured.NestedBool(u.Object, "spec", differsField)
	return differs
}

// values returns the strings in a field of a spec, which is a string or a list of them.
func values(u *unstructured.Unstructured, field string) []string {
	spec, _ := u.Object["spec"].(map[string]any)
	list, ok := spec[field].([]any)
	if !ok {
		list = []any{spec[field]}
	}
	var found []string
	for _, value := range list {
		if s, ok := value.(string); ok {
			found = append(found, s)
		}
	}
	return found
}

// resolve returns the hosts in a field of a spec as Istio compares them.
func (m *Mesh) resolve(u *unstructured.Unstructured, field string) []string {
	domain := m.Index.Config().ClusterDomain
	hosts := values(u, field)
	for i, host := range hosts {
		hosts[i] = strings.ToLower(hostname.Resolve(host, u.GetNamespace(), domain))
	}
	return hosts
}

// Hosts returns the hosts for which a cached object is: that of a DestinationRule, or those of a VirtualService.
func (m *Mesh) Hosts(u *unstructured.Unstructured) []string {
	return slices.Concat(m.resolve(u, hostField), m.resolve(u, hostsField))
}

// Named returns the hosts by which admission decides what a cached object needs: its own, and those that it sends
// traffic to.
func (m *Mesh) Named(u *unstructured.Unstructured) []string {
	return append(m.Hosts(u), m.resolve(u, destinationsField)...)
}

// Reserved returns the hosts whose reserved subset a cached VirtualService names, or a DestinationRule has.
func (m *Mesh) Reserved(u *unstructured.Unstructured) []string { return m.resolve(u, reservedField) }

// RuleHost returns the host of a cached DestinationRule.
func (m *Mesh) RuleHost(rule *unstructured.Unstructured) string {
	return strings.Join(m.resolve(rule, hostField), "")
}

// Replaces reports whether a cached object takes the place of a Service's companion of its kind.
func (m *Mesh) Replaces(u *unstructured.Unstructured, host hostname.Host) bool {
	o := &object.Object{Kind: u.GetKind(), Metadata: object.Metadata{Namespace: u.GetNamespace(), Name: u.GetName()}}
	if o.Kind == object.KindDestinationRule {
		o.DestinationRule = &object.DestinationRule{Host: strings.Join(values(u, hostField), "")}
		if selector, selects, _ := unstructured.NestedFieldNoCopy(u.Object, "spec", "workloadSelector"); selects && selector != nil {
			o.DestinationRule.WorkloadSelector = &object.RuleSelector{}
		}
	} else {
		o.VirtualService = &object.VirtualService{Hosts: values(u, hostsField), Gateways: values(u, "gateways"), ExportTo: values(u, "exportTo")}
	}
	return slices.Contains(inject.Replaced(o, m.Index.Config().ClusterDomain), host)
}

// Covers reports whether a host of a DestinationRule, which may be a wildcard, is for another host.
func Covers(rule, host string) bool {
	suffix, wildcard := hostname.Wildcard(rule)
	return rule == host || wildcard && strings.HasSuffix(host, suffix)
}

// LeadTo lists the VirtualServices, companions apart, that send traffic to the reserved subset of a
// DestinationRule with that host.
func (m *Mesh) LeadTo(ctx context.Context, rule string) ([]Target, error) {
	routes, err := m.List(ctx, m.Route, "")
	if err != nil {
		return nil, err
	}
	var found []Target
	for i := range routes {
		if slices.ContainsFunc(m.Reserved(&routes[i]), func(host string) bool { return Covers(rule, host) }) {
			found = append(found, TargetOf(&routes[i]))
		}
	}
	return found, nil
}

// Target names an object.
type Target struct{ Kind, Namespace, Name string }

// TargetOf names an object that has a kind.
func TargetOf(o client.Object) Target {
	return Target{o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName()}
}
