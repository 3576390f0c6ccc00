package mesh

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// The fields of cached objects. The last four are our own.
const (
	hostField         = "host"
	hostsField        = "hosts"
	destinationsField = "meshfenceDestinations"
	reservedField     = "meshfenceReserved"
	differsField      = "meshfenceDiffers"
	sectionsField     = "meshfenceSections"
)

// ByName is the index of cached objects by the name of the Service, whatever its Namespace, that they speak of.
const ByName = "service"

// NewCache returns the cache that a Mesh reads from. The caller starts it.
func NewCache(ctx context.Context, mgr ctrl.Manager, k Kinds, index *policy.Index) (cache.Cache, error) {
	objects, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     mgr.GetScheme(),
		Mapper:     mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			ObjectOf(k.Rule):  {Transform: Slim(index)},
			ObjectOf(k.Route): {Transform: Slim(index)},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the cache of Istio objects: %w", err)
	}
	for _, gvk := range []schema.GroupVersionKind{k.Rule, k.Route} {
		if err := objects.IndexField(ctx, ObjectOf(gvk), ByName, ServiceNames); err != nil {
			return nil, fmt.Errorf("index %s: %w", gvk.Kind, err)
		}
	}
	return objects, nil
}

// ServiceNames returns the keys of an object in the index ByName.
func ServiceNames(o client.Object) []string {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	var names []string
	for _, host := range slices.Concat(values(u, hostField), values(u, hostsField)) {
		name, _, _ := strings.Cut(strings.ToLower(host), ".")
		names = append(names, name)
	}
	return names
}

// Slim returns what turns an object into its cached form: companions stay whole, and of others there is what says which
// hosts they speak of, and whether admission would change them.
func Slim(index *policy.Index) toolscache.TransformFunc {
	return func(o any) (any, error) {
		if full, ok := o.(*unstructured.Unstructured); ok {
			return slim(full, index), nil
		}
		return o, nil
	}
}

func slim(full *unstructured.Unstructured, index *policy.Index) *unstructured.Unstructured {
	if IsCompanion(full) {
		full.SetManagedFields(nil)
		return full
	}
	from, _ := full.Object["spec"].(map[string]any)
	if _, slimmed := from[destinationsField]; slimmed {
		return full // the informer may pass what it holds once more
	}
	full.SetManagedFields(nil)
	unstructured.RemoveNestedField(full.Object, "metadata", "annotations", corev1.LastAppliedConfigAnnotation)
	kept := ObjectOf(full.GroupVersionKind())
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
	decoded, plan, err := Plan(full, index.View())
	spec[destinationsField], spec[reservedField], spec[sectionsField] = routing(decoded, index.Config())
	spec[differsField] = err == nil && len(plan.Edits) > 0
	kept.Object["spec"] = spec
	return kept
}

// routing lists the hosts that a VirtualService sends traffic to, those whose reserved subset it names, or a
// DestinationRule has, and the sections that hold routes of the VirtualService's own. What cannot be read, which Istio's
// schema rules out, is nil and has none.
func routing(decoded *object.Object, config *policy.Config) (destinations, reserved, sections []any) {
	if decoded == nil {
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
