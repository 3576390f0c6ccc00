package leak

import (
	"fmt"
	"maps"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceFenceOnOwned warns of a fence by annotation on a Service that another controller makes and keeps, such as those
// of a Flagger Canary, a Knative Route or a KServe InferenceService: the next time that it writes the Service, it may
// leave only what its own object says, and the fence is gone.
func serviceFenceOnOwned() Rule {
	return Rule{
		ID:      "service-fence-on-owned",
		Summary: "A fence should not be an annotation on a Service that another controller keeps.",
		Why: "Controllers such as those of Flagger, Knative and KServe write their Services again from their own " +
			"objects. What their object does not say, they take away, and the fence is gone.",
		Fix: "Put the fence into that controller's own object, on the Namespace, or into scope.services of the " +
			"FenceConfig.",
		Kinds:    []string{object.KindService},
		Severity: Warn,
		check: func(o Write, view *policy.View) []breach {
			owner := o.Service.Owner
			host := hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
			decision := view.Service(host, o.Metadata.Annotations)
			if owner == nil || decision.Fence == policy.None {
				return nil
			}
			without := maps.Clone(o.Metadata.Annotations)
			delete(without, policy.FenceKey)
			if view.Service(host, without).Fence >= decision.Fence {
				return nil
			}
			name := fmt.Sprintf("%s %s/%s", owner.Kind, host.Namespace, owner.Name)
			return []breach{{
				path:      []string{"metadata", "annotations", policy.FenceKey},
				value:     o.Metadata.Annotations[policy.FenceKey],
				at:        name,
				host:      policy.FencedHost{Host: host.FQDN(view.Config().ClusterDomain), Decision: decision},
				must:      fmt.Sprintf("not depend on an annotation that the controller of %s, which keeps the Service, may take away", name),
				otherwise: "the fence is gone when it writes the Service again",
				instead: fmt.Sprintf("write the annotation %s, label the namespace with %s=%s, or name the Service in scope.services of the FenceConfig",
					template(*owner, host.Name), policy.FenceKey, decision.Fence),
			}}
		},
	}
}

// template says where an owner has the annotations of a Service that it makes.
func template(owner object.Owner, service string) string {
	if owner.Group() != object.GroupFlagger {
		return fmt.Sprintf("where %s %s has what its Services carry, if it has such a place", owner.Kind, owner.Name)
	}
	part := "apex"
	for _, suffix := range []string{"primary", "canary"} {
		if strings.HasSuffix(service, "-"+suffix) {
			part = suffix
		}
	}
	return fmt.Sprintf("into spec.service.%s.annotations of %s %s", part, owner.Kind, owner.Name)
}
