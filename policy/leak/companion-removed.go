package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// deleters are the controllers of Kubernetes that delete what belongs to a Service or to a Namespace.
func deleters() []string {
	return []string{
		"system:kube-controller-manager",
		"system:serviceaccount:kube-system:generic-garbage-collector",
		"system:serviceaccount:kube-system:namespace-controller",
	}
}

// companionRemoved refuses the deletion of a companion that its Service needs [B14].
func companionRemoved() Rule {
	return Rule{
		ID:        "companion-removed",
		Summary:   "The companion of a strict Service must stay.",
		Why:       "Without its companion the host of the Service is one pool over all clusters.",
		Fix:       "Leave the companion alone: meshfence removes it when the fence goes.",
		Rows:      []string{"B14"},
		Kinds:     []string{object.KindDestinationRule, object.KindVirtualService},
		Deletions: true,
		Severity:  Deny,
		Otherwise: "the host's clients are sent to every cluster",
		check: func(o Write, view *policy.View) []breach {
			if o.Own || !o.Deleted {
				return nil
			}
			return deletedCompanion(o, view)
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
	companions := inject.CompanionsOf(host, policy.Speech{}, view)
	if kind == object.KindVirtualService {
		return companions.Route != nil
	}
	return companions.Rule != nil
}
