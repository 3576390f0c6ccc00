package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// revisionHidesFence refuses the label istio.io/rev on what takes the place of the companion of a strict Service: an istiod
// of another revision would have neither [B14].
func revisionHidesFence() Rule {
	return Rule{
		ID:      "revision-hides-fence",
		Summary: "What takes the place of the companion of a strict Service must be read by every istiod.",
		Why: "An object with the label istio.io/rev is read by the istiod of that revision alone, so that clients of " +
			"another revision have neither it nor the companion.",
		Fix:       "Remove the label istio.io/rev from an object that is for a strict host.",
		Rows:      []string{"B14"},
		Kinds:     []string{object.KindDestinationRule, object.KindVirtualService},
		Severity:  Deny,
		Otherwise: "the host's clients are sent to every cluster",
		check: func(o Write, view *policy.View) []breach {
			revision, labelled := o.Metadata.Labels[policy.RevisionLabel]
			if !labelled || o.Own {
				return nil
			}
			host, found := companionReplaced(o.Object, view)
			if !found {
				return nil
			}
			return []breach{{
				path:  []string{"metadata", "labels", policy.RevisionLabel},
				value: revision,
				host:  host,
				must:  "not be set, so that every istiod reads the object",
			}}
		},
	}
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
