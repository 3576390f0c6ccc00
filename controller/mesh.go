package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// kindsRetry is how often a cluster without Istio is asked for its kinds.
const kindsRetry = 5 * time.Second

// kinds are Istio's kinds in the version that the API server prefers.
type kinds struct{ rule, route schema.GroupVersionKind }

// findKinds waits until the API server serves Istio's kinds.
func findKinds(ctx context.Context, mapper meta.RESTMapper) (kinds, error) {
	var k kinds
	told := false
	err := wait.PollUntilContextCancel(ctx, kindsRetry, true, func(context.Context) (bool, error) {
		for _, kind := range []struct {
			name string
			gvk  *schema.GroupVersionKind
		}{{object.KindDestinationRule, &k.rule}, {object.KindVirtualService, &k.route}} {
			mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "networking.istio.io", Kind: kind.name})
			if err != nil {
				if !told {
					logf.FromContext(ctx).Info("waiting for Istio's kinds", "kind", kind.name, "reason", err.Error())
				}
				told = true
				return false, nil
			}
			*kind.gvk = mapping.GroupVersionKind
		}
		return true, nil
	})
	return k, err
}

// object returns an empty object of a kind.
func objectOf(gvk schema.GroupVersionKind) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(gvk)
	return u
}

// listOf returns an empty list of objects of a kind.
func listOf(gvk schema.GroupVersionKind) *unstructured.UnstructuredList {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	return list
}

// The fields of slim objects. The last four are our own.
const (
	hostField         = "host"
	hostsField        = "hosts"
	destinationsField = "meshfenceDestinations"
	reservedField     = "meshfenceReserved"
	unlikeField       = "meshfenceUnlike"
	sectionsField     = "meshfenceSections"
)

// byName is the index of objects by the name of the Service, whatever its namespace, that they speak of.
const byName = "service"

// newCache returns the cache of slim objects, which the caller starts.
func newCache(ctx context.Context, mgr ctrl.Manager, k kinds, index *policy.Index) (cache.Cache, error) {
	transform := func(o any) (any, error) {
		if full, ok := o.(*unstructured.Unstructured); ok {
			return slim(full, index), nil
		}
		return o, nil
	}
	objects, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     mgr.GetScheme(),
		Mapper:     mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			objectOf(k.rule):  {Transform: transform},
			objectOf(k.route): {Transform: transform},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the cache of Istio objects: %w", err)
	}
	for gvk, field := range map[schema.GroupVersionKind]string{k.rule: hostField, k.route: hostsField} {
		err := objects.IndexField(ctx, objectOf(gvk), byName, func(o client.Object) []string {
			u, ok := o.(*unstructured.Unstructured)
			if !ok {
				return nil
			}
			var names []string
			for _, host := range values(u, field) {
				name, _, _ := strings.Cut(strings.ToLower(host), ".")
				names = append(names, name)
			}
			return names
		})
		if err != nil {
			return nil, fmt.Errorf("index %s: %w", gvk.Kind, err)
		}
	}
	return objects, nil
}

// slim keeps companions whole, and of other objects what says which hosts they speak of, and whether admission
// would change them.
func slim(full *unstructured.Unstructured, index *policy.Index) *unstructured.Unstructured {
	if isCompanion(full) {
		full.SetManagedFields(nil)
		return full
	}
	from, _ := full.Object["spec"].(map[string]any)
	if _, slimmed := from[destinationsField]; slimmed {
		return full // the informer may pass what it holds once more
	}
	full.SetManagedFields(nil)
	unstructured.RemoveNestedField(full.Object, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
	kept := objectOf(full.GroupVersionKind())
	kept.SetNamespace(full.GetNamespace())
	kept.SetName(full.GetName())
	kept.SetUID(full.GetUID())
	kept.SetResourceVersion(full.GetResourceVersion())
	spec := map[string]any{}
	for _, field := range []string{hostField, "workloadSelector", hostsField, "gateways", "exportTo"} {
		if value, ok := from[field]; ok {
			spec[field] = value
		}
	}
	spec[destinationsField], spec[reservedField], spec[sectionsField] = routing(full, index.Config())
	j, err := inspect(full, index)
	spec[unlikeField] = j != nil && err == nil
	kept.Object["spec"] = spec
	return kept
}

// routing lists the hosts that a VirtualService sends traffic to, those whose reserved subset it names, or a
// DestinationRule has, and the sections that hold routes of the VirtualService's own. What cannot be read, which Istio's
// schema rules out, has none.
func routing(full *unstructured.Unstructured, config *policy.Config) (destinations, reserved, sections []any) {
	decoded, err := decode(full)
	if err != nil {
		return nil, nil, nil
	}
	if decoded.DestinationRule != nil {
		if inject.HasReserved(decoded.DestinationRule, config) {
			reserved = []any{decoded.DestinationRule.Host}
		}
		return nil, reserved, nil
	}
	for _, d := range decoded.VirtualService.Destinations() {
		if !slices.Contains(destinations, any(d.Host)) {
			destinations = append(destinations, d.Host)
		}
		if policy.IsReservedSubset(d.Subset) && !slices.Contains(reserved, any(d.Host)) {
			reserved = append(reserved, d.Host)
		}
	}
	for _, section := range inject.OwnSections(decoded) {
		sections = append(sections, section)
	}
	return destinations, reserved, sections
}

// isCompanion says that an object is one of ours; any other of such a name is a person's.
func isCompanion(u *unstructured.Unstructured) bool {
	return inject.IsCompanion(u.GetName(), u.GetLabels())
}

// mesh answers from the cache of slim DestinationRules and VirtualServices.
type mesh struct {
	kinds
	index   *policy.Index
	objects client.Reader
}

// list returns the cached objects of a kind in a namespace, or in all where it is empty. They must not be
// written to.
func (m *mesh) list(ctx context.Context, gvk schema.GroupVersionKind, namespace string, options ...client.ListOption) ([]unstructured.Unstructured, error) {
	list := listOf(gvk)
	if err := m.objects.List(ctx, list, append(options, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)...); err != nil {
		return nil, fmt.Errorf("list cached %s: %w", gvk.Kind, err)
	}
	return list.Items, nil
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
func (m *mesh) resolve(u *unstructured.Unstructured, field string) []string {
	domain := m.index.Config().ClusterDomain
	hosts := values(u, field)
	for i, host := range hosts {
		hosts[i] = strings.ToLower(hostname.Resolve(host, u.GetNamespace(), domain))
	}
	return hosts
}

// named returns the hosts by which admission decides what an object needs.
func (m *mesh) named(u *unstructured.Unstructured) []string {
	return slices.Concat(m.resolve(u, hostField), m.resolve(u, hostsField), m.resolve(u, destinationsField))
}

// ruleHost returns the host of a DestinationRule.
func (m *mesh) ruleHost(rule *unstructured.Unstructured) string {
	return strings.Join(m.resolve(rule, hostField), "")
}

// rules says whether a DestinationRule takes the place of a companion of the host. One with a workload
// selector does not: it leaves the clients that it does not select to the companion (row B6). Nor does a
// wildcard, which yields to an exact host (row B7), nor what spells the host in another case: Istio looks for
// it as it is written (MostSpecificHostMatch in its pilot/pkg/model).
func (m *mesh) rules(rule *unstructured.Unstructured, fqdn string) bool {
	selector, selects, _ := unstructured.NestedFieldNoCopy(rule.Object, "spec", "workloadSelector")
	host := hostname.Resolve(strings.Join(values(rule, hostField), ""), rule.GetNamespace(), m.index.Config().ClusterDomain)
	return host == fqdn && (!selects || selector == nil)
}

// routes says whether a VirtualService takes the place of a companion of the host. One that is bound to
// gateways alone does not, nor does one that only some namespaces see: Istio puts it before the companion for
// them, and leaves the companion to the others (row C7).
func (m *mesh) routes(route *unstructured.Unstructured, fqdn string) bool {
	gateways, exportTo := values(route, "gateways"), values(route, "exportTo")
	return (len(gateways) == 0 || slices.Contains(gateways, "mesh")) &&
		(len(exportTo) == 0 || slices.Contains(exportTo, "*")) &&
		slices.Contains(m.resolve(route, hostsField), fqdn)
}

// covers says whether a host of a DestinationRule, which may be a wildcard, stands for another host.
func covers(rule, host string) bool {
	suffix, wildcard := hostname.Wildcard(rule)
	return rule == host || wildcard && strings.HasSuffix(host, suffix)
}

// reserves lists the VirtualServices, companions apart, that send traffic to the reserved subset of a
// DestinationRule with that host.
func (m *mesh) reserves(ctx context.Context, rule string) ([]target, error) {
	routes, err := m.list(ctx, m.route, "")
	if err != nil {
		return nil, err
	}
	var found []target
	for i := range routes {
		if slices.ContainsFunc(m.resolve(&routes[i], reservedField), func(host string) bool { return covers(rule, host) }) {
			found = append(found, targetOf(&routes[i]))
		}
	}
	return found, nil
}

// target names an object.
type target struct{ kind, namespace, name string }

func targetOf(o client.Object) target {
	return target{o.GetObjectKind().GroupVersionKind().Kind, o.GetNamespace(), o.GetName()}
}
