package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceLoosenedDestination refuses to loosen a strict Service to which requests for another strict host are sent, and
// warns who deletes it [C16]: its fence is what keeps them in this cluster.
func serviceLoosenedDestination() Rule {
	return Rule{
		ID:      "service-loosened-destination",
		Summary: "A strict Service must not be loosened while the requests of another strict host are sent to it.",
		Why: "A route may lead from one strict host to another strict host. The fence of the second one keeps " +
			"those requests in this cluster. If it goes, they go everywhere. Deleting the Service is warned of.",
		Fix:       "First take the name of the Service out of the object that leads to it.",
		Rows:      []string{"C16"},
		Kinds:     []string{object.KindService},
		Deletions: true,
		Severity:  Deny,
		Otherwise: "those requests go where no fence keeps them in this cluster",
		Instead:   "take its name out of that object first",
		check: func(o Write, view *policy.View) []breach {
			host := hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
			fence := view.Service(host, o.Metadata.Annotations).Fence
			if o.Own || (fence == policy.Strict) != o.Deleted || !wasStrict(o, host, view) || slices.Contains(deleters(), o.Writer) {
				return nil
			}
			led := leadersOf(host.FQDN(view.Config().ClusterDomain), view)
			if len(led) == 0 {
				return nil
			}
			var hosts []policy.FencedHost
			for _, l := range led {
				hosts = append(hosts, l.hosts...)
			}
			b := breach{
				path:   []string{"metadata", "annotations", policy.FenceKey},
				value:  o.Metadata.Annotations[policy.FenceKey],
				host:   policy.Together(hosts...),
				unsure: o.Deleted,
				must:   "keep the Service strict while " + led[0].does(),
			}
			if o.Deleted {
				b.path, b.value = []string{"metadata", "name"}, o.Metadata.Name
				b.must = "stay while " + led[0].does()
			}
			return []breach{b}
		},
	}
}

// wasStrict reports whether a Service was strict before it is written, or would be on its creation if it said nothing.
func wasStrict(o Write, host hostname.Host, view *policy.View) bool {
	var annotations map[string]string
	switch {
	case o.Deleted:
		annotations = o.Metadata.Annotations
	case o.Before() != nil:
		annotations = o.Before().Metadata.Annotations
	}
	return view.Service(host, annotations).Fence == policy.Strict
}
