package leak

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// namespaceLoosenedDestination refuses to change the labels of a Namespace so that a Service in it is strict no more to
// which requests for another strict host are sent [C16]: its fence is what keeps them in this cluster, and a label takes
// it away like an annotation does. It looks at the VirtualServices that lead there, however many Services there are.
func namespaceLoosenedDestination() Rule {
	return Rule{
		ID: "namespace-loosened-destination",
		Summary: "A Namespace must not be relabelled so that a Service in it is no longer strict while the requests " +
			"of another strict host are sent there.",
		Why: "A route may lead from one strict host to another strict host. The fence of the second one keeps " +
			"those requests in this cluster. If it goes, they go everywhere.",
		Fix:       "Annotate that Service itself, or first take its name out of the routes of that VirtualService.",
		Rows:      []string{"C16"},
		Kinds:     []string{object.KindNamespace},
		Severity:  Deny,
		Otherwise: "those requests go where no fence keeps them in this cluster",
		Instead:   "annotate that Service itself, or take its name out of the routes of that VirtualService first",
		check: func(o Write, view *policy.View) []breach {
			if o.Before() == nil || o.Own || slices.Contains(deleters(), o.Writer) {
				return nil
			}
			l := loosened{view: view, namespace: o.Metadata.Name, before: o.Before().Metadata.Labels, after: o.Metadata.Labels}
			view.LoadNamespace(l.namespace, l.after)
			var found []breach
			for _, led := range view.LeadingInto(l.namespace) {
				for _, fqdn := range l.destinations(led) {
					if b, leads := l.breach(led, fqdn); leads {
						found = append(found, b)
					}
				}
			}
			return found
		},
	}
}

// loosened is a Namespace whose labels change.
type loosened struct {
	view          *policy.View
	namespace     string
	before, after map[string]string
}

// destinations lists the hosts that the change loosens and to which a VirtualService has routes for clients of this
// cluster, each once.
func (l loosened) destinations(o *object.Object) []string {
	config := l.view.Config()
	var list []string
	seen, routes := map[string]bool{}, newRoutes(o.VirtualService, config)
	for path, d := range o.VirtualService.Destinations() {
		fqdn := strings.ToLower(hostname.Resolve(d.Host, o.Metadata.Namespace, config.ClusterDomain))
		host, inside := hostname.Parse(fqdn, config.ClusterDomain)
		if !inside || host.Namespace != l.namespace || seen[fqdn] || !routes.used(path) {
			continue
		}
		seen[fqdn] = true
		if l.fence(l.before, host) == policy.Strict && l.fence(l.after, host) != policy.Strict {
			list = append(list, fqdn)
		}
	}
	return list
}

func (l loosened) fence(labels map[string]string, host hostname.Host) policy.Fence {
	return l.view.ServiceUnder(labels, host).Fence
}

// breach returns what is wrong where a VirtualService, or one that leaves requests to it, sends those for another strict
// host to one that is loosened.
func (l loosened) breach(o *object.Object, fqdn string) (breach, bool) {
	led := leadersBy(o, fqdn, l.view)
	if len(led) == 0 {
		return breach{}, false
	}
	return breach{
		path:  []string{"metadata", "labels", policy.FenceKey},
		value: labels.Set(l.after).String(),
		at:    fqdn + " " + led[0].Metadata.Namespace + "/" + led[0].Metadata.Name,
		host:  policy.Together(led[0].hosts...),
		must:  fmt.Sprintf("keep %s strict while %s", fqdn, led[0].does()),
	}, true
}
