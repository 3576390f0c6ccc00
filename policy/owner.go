package policy

import (
	"slices"
	"strings"
)

// Owner names the object whose controller makes and keeps another one.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	// Controller says that the controller of the owner keeps the object. Others only share its life.
	Controller bool `json:"controller"`
}

// ownedMetadata is Metadata with the owners.
type ownedMetadata struct {
	Metadata

	OwnerReferences []Owner `json:"ownerReferences"`
}

// GroupFlagger is the API group of Flagger's Canaries.
const GroupFlagger = "flagger.app"

// Group returns the API group of the owner.
func (o Owner) Group() string {
	group, _, found := strings.Cut(o.APIVersion, "/")
	if !found {
		return ""
	}
	return group
}

// controllerOf returns the owner whose controller keeps an object; nil where none does.
func controllerOf(owners []Owner) *Owner {
	i := slices.IndexFunc(owners, func(o Owner) bool { return o.Controller })
	if i < 0 {
		return nil
	}
	return &owners[i]
}

// Annotated returns the Services whose own annotation asks for a fence, and for which.
func (x *Index) Annotated() map[Host]Fence {
	x.mu.RLock()
	defer x.mu.RUnlock()
	found := map[Host]Fence{}
	for namespace, n := range x.namespaces {
		for name, annotation := range n.services {
			if fence, ok := annotation.fence(); ok {
				found[Host{namespace, name}] = fence
			}
		}
	}
	return found
}

// Annotation returns the fence for which the annotation of a Service asks; asks is false where it has none, and exists
// where there is no such Service.
func (x *Index) Annotation(h Host) (fence Fence, asks, exists bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	n, ok := x.namespaces[h.Namespace]
	if !ok {
		return None, false, false
	}
	annotation, exists := n.services[h.Name]
	fence, asks = annotation.fence()
	return fence, asks && exists, exists
}
