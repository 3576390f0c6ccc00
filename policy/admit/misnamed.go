package admit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/object"
)

// otherKinds are the groups of which every kind is known, and those of their kinds that are in no table because nothing is
// asked of them: what the Gateway API has beside, or has had (config/crd of sigs.k8s.io/gateway-api).
func otherKinds() map[string][]string {
	return map[string][]string{
		object.IstioGroup:                     nil,
		object.GroupOf(object.KindWasmPlugin): nil,
		object.GatewayGroup:                   {"BackendLBPolicy", "ListenerSet", "ReferenceGrant", "ReferencePolicy", "UDPRoute"},
	}
}

// isKubernetes reports whether a group is one of Kubernetes itself in which kinds of the table are or are looked for. Only
// v1 of the core group is: other tools have files of a v2 or v3.
func isKubernetes(group, version string) bool {
	return group == "" && version == "v1" ||
		slices.Contains([]string{"apps", "autoscaling", "batch", "discovery.k8s.io", "extensions", "networking.k8s.io", "policy"}, group)
}

// Misnamed says what is wrong with an apiVersion and a kind that no API server knows, and that look like those of a kind of
// the table: such an object is never stored. It is empty for all others, and for kinds of groups that it does not know.
func Misnamed(apiVersion, kind string) string {
	others := otherKinds()
	group, version, ok := strings.Cut(apiVersion, "/")
	if _, isKnown := others[group]; !ok && !isKnown && !isKubernetes(group, "") {
		group, version = "", apiVersion
	}
	also, isWhole := others[group]
	kind = strings.TrimSuffix(kind, "List")
	if slices.Contains(also, kind) || !isWhole && !isKubernetes(group, version) {
		return ""
	}
	var all, same, like []string // those of the group, those of it with such a name, and those of any group with one
	for _, k := range kinds {
		name, isOfGroup := object.APIKind(k.Kind), k.Group == group
		isLike := strings.EqualFold(name, kind) || strings.EqualFold(k.Resource, kind)
		if isOfGroup && name == kind && slices.Contains(k.Versions, version) {
			return ""
		}
		if isOfGroup {
			all = append(all, k.fullName())
		}
		if isOfGroup && isLike {
			same = append(same, k.fullName())
		}
		if isLike {
			like = append(like, k.fullName())
		}
	}
	switch {
	case len(same) > 0:
		like = same
	case len(like) == 0 && isWhole:
		like = all
	case len(like) == 0:
		return ""
	}
	return fmt.Sprintf("apiVersion %q has no kind %q: must be %s", apiVersion, kind, strings.Join(like, " or "))
}

// fullName returns the preferred apiVersion and the kind.
func (k Kind) fullName() string {
	return strings.TrimPrefix(k.Group+"/"+k.Versions[0], "/") + " " + object.APIKind(k.Kind)
}
