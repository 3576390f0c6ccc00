package leak

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// companionNameReserved refuses that anybody else makes an object with the name of a companion, or changes a
// companion: the one that a Service needs could not be made then, or would not be found again [B18]. The controllers
// of Kubernetes may write what they keep in every object, and a change of nothing that is read is none. Deletions are
// for companion-removed.
func companionNameReserved() Rule {
	return Rule{
		ID:      "companion-name-reserved",
		Summary: "Nobody but meshfence makes or changes an object with the name of a companion.",
		Why: "The controller keeps an object named <service>-meshfence beside a Service that needs one. If " +
			"another object has that name, the companion cannot be made. If somebody changes the companion, it " +
			"may hold nothing any more.",
		Fix:       "Choose another name. To loosen a fence, change the annotation of the Service.",
		Rows:      []string{"B18"},
		Kinds:     []string{object.KindDestinationRule, object.KindVirtualService},
		Severity:  Deny,
		Otherwise: "the Service of that name may be left without the object that keeps its traffic in this cluster",
		Instead:   "choose another name; a fence is loosened by the annotation of its Service",
		check: func(o Write, view *policy.View) []breach {
			service, named := inject.CompanionOf(o.Metadata.Name)
			host := hostname.Host{Namespace: o.Metadata.Namespace, Name: service}
			switch {
			case !named, o.Own, slices.Contains(deleters(), o.Writer), exempt(host.Namespace, view.Config()):
				return nil
			case o.Writer == "" && inject.IsCompanion(o.Metadata.Name, o.Metadata.Labels):
				return nil // one that exists
			}
			return []breach{{
				path:  []string{"metadata", "name"},
				value: o.Metadata.Name,
				at:    whatIsRead(o.Object),
				host:  fencedService(host, view),
				must:  fmt.Sprintf("not be %q, which is reserved for what meshfence makes for Service %s", o.Metadata.Name, service),
			}}
		},
	}
}

// whatIsRead writes down what decides what an object does, and whether it is a companion.
func whatIsRead(o *object.Object) string {
	text, err := json.Marshal([]any{
		o.DestinationRule, o.VirtualService, o.Metadata.Labels[inject.ManagedByLabel], o.Metadata.Labels[policy.RevisionLabel],
		o.Metadata.Annotations[policy.InjectedAnnotation],
	})
	if err != nil { // no value of a view is without a JSON form
		return fmt.Sprintf("%+v", o)
	}
	return string(text)
}

// fencedService returns a Service whose name is known, where it has a fence or would have one.
func fencedService(host hostname.Host, view *policy.View) policy.FencedHost {
	match := view.Match(host.FQDN(view.Config().ClusterDomain))
	for _, fence := range []policy.Fence{policy.Strict, policy.Prefer} {
		if match.Has(fence) {
			return match.Host(fence)
		}
	}
	return policy.FencedHost{}
}
