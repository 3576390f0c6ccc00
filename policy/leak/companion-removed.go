package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// revisionLabel names the istiod revision that reads an object; where it is absent every istiod does.
const revisionLabel = "istio.io/rev"

// deleters are the controllers of Kubernetes that delete what belongs to a Service or to a Namespace.
func deleters() []string {
	return []string{
		"system:kube-controller-manager",
		"system:serviceaccount:kube-system:generic-garbage-collector",
		"system:serviceaccount:kube-system:namespace-controller",
	}
}

// companionRemoved refuses the deletion of a companion that its Service needs, and the label istio.io/rev on what
// takes the place of the companion of a strict Service: an istiod of another revision would have neither [B14].
func companionRemoved() Rule {
	return Rule{
		ID:      "companion-removed",
		Summary: "The companion of a strict Service must stay, and what takes its place must be read by every istiod.",
		Why: "Without its companion the host of the Service is one pool over all clusters. An object with the " +
			"label istio.io/rev is read by the istiod of that revision alone, so that clients of another " +
			"revision have neither it nor the companion.",
		Fix: "Leave the companion alone: meshfence removes it when the fence goes. Remove the label istio.io/rev " +
			"from an object that is for a strict host.",
		Rows:      []string{"B14"},
		Kinds:     []string{object.KindDestinationRule, object.KindVirtualService},
		Deletions: true,
		Severity:  Deny,
		Otherwise: "the host's clients are sent to every cluster",
		check: func(o Write, view *policy.View) []breach {
			switch {
			case o.Own:
				return nil
			case o.Deleted:
				return deletedCompanion(o, view)
			}
			revision, labelled := o.Metadata.Labels[revisionLabel]
			if !labelled {
				return nil
			}
			host, found := companionReplaced(o.Object, view)
			if !found {
				return nil
			}
			return []breach{{
				path:  []string{"metadata", "labels", revisionLabel},
				value: revision,
				host:  host,
				must:  "not be set, so that every istiod reads the object",
			}}
		},
	}
}

func deletedCompanion(o Write, view *policy.View) []breach {
	service, _ := inject.CompanionOf(o.Metadata.Name)
	host := hostname.Host{Namespace: o.Metadata.Namespace, Name: service}
	if !inject.IsCompanion(o.Metadata.Name, o.Metadata.Labels) || slices.Contains(deleters(), o.Writer) ||
		!view.Exists(host) && !view.Config().Names(host) || !needsCompanion(o.Kind, host, view) {
		return nil
	}
	match := view.Match(host.FQDN(view.Config().ClusterDomain))
	fence := policy.Prefer
	if match.Has(policy.Strict) {
		fence = policy.Strict
	}
	return []breach{{
		path:  []string{"metadata", "name"},
		value: o.Metadata.Name,
		host:  match.Host(fence),
		must:  "stay while the Service is fenced; meshfence removes it when the fence is none",
	}}
}

// needsCompanion reports whether a Service has a companion of that kind where nobody wrote such an object for it.
func needsCompanion(kind string, host hostname.Host, view *policy.View) bool {
	companions := inject.CompanionsOf(host, nil, view)
	if kind == object.KindVirtualService {
		return companions.Route != nil
	}
	return companions.Rule != nil
}

// companionReplaced returns the tightest strict host whose companion an object takes the place of, if it does.
func companionReplaced(o *object.Object, view *policy.View) (policy.FencedHost, bool) {
	if o.DestinationRule != nil {
		host, strict := strictHost(o, view)
		return host, strict && len(inject.Replaced(o, view.Config().ClusterDomain)) > 0
	}
	domain := view.Config().ClusterDomain
	var replaced []policy.FencedHost
	for _, host := range inject.Replaced(o, domain) {
		match := view.Match(host.FQDN(domain))
		if match.Has(policy.Strict) && needsCompanion(o.Kind, host, view) {
			replaced = append(replaced, match.Host(policy.Strict))
		}
	}
	return policy.Together(replaced...), len(replaced) > 0
}
