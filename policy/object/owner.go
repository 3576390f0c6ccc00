package object

import (
	"slices"
	"strings"
)

// Owner names the object whose controller makes and keeps another one.
type Owner struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	// Controller reports whether the controller of the owner keeps the object. Others only share its life.
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
