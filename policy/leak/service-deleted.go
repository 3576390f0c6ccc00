package leak

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// serviceDeleted warns who deletes a Service that is strict, or whose host is strict once the Service's own annotation is
// gone: its companions go with it, or were never made, and as long as another cluster has a Service of that name, istiod
// gives its host to the clients here [E17]. The mesh config keeps them where the fence does not go with the Service. Who
// deletes the whole Namespace has said enough.
func serviceDeleted() Rule {
	return Rule{
		ID:      "service-deleted",
		Summary: "A strict Service should not be deleted while another cluster still has it.",
		Why: "Its companions go with it, and so does its own entry in the mesh config. istiod then gives clients " +
			"here the endpoints of the other clusters, if they find the name by DNS capture or by a route.",
		Fix: "Delete it in the other clusters first, name it in scope.services of the FenceConfig, keep it " +
			"without Pods, or use hold meshConfig and make its namespace strict.",
		Rows:      []string{"E17"},
		Kinds:     []string{object.KindService},
		Deletions: true,
		Severity:  Warn,
		Otherwise: "where another cluster has a Service of that name, clients here that find it by DNS capture, or by a route, are sent there, " +
			"because its companion, and its own entry in the mesh config, go with the Service",
		Instead: "delete it in the other clusters first, name it in scope.services of the FenceConfig, keep it without Pods, or have hold meshConfig and make its namespace strict",
		check: func(o Write, view *policy.View) []breach {
			if !o.Deleted || o.Own || slices.Contains(deleters(), o.Writer) || stays(o.Object, view) {
				return nil
			}
			b := breach{path: []string{"metadata", "name"}, value: o.Metadata.Name, must: "stay as long as anybody here may ask for it"}
			var strict bool
			if b.host, strict = strictService(o.Object, view); strict {
				return []breach{b}
			}
			if b.host, strict = strictOnceGone(o.Object, view); !strict {
				return nil
			}
			b.must += ", because its host is strict without the annotation that goes with it"
			b.otherwise = "where another cluster has a Service of that name, clients here that find it by DNS capture, or by a route, are still sent there, " +
				"because nothing fences a host that has no Service here and no name in the FenceConfig"
			b.instead = "delete it in the other clusters first, name it in scope.services of the FenceConfig with the fence that it is to have, or have hold meshConfig"
			return []breach{b}
		},
	}
}

// strictOnceGone returns the host of a Service without what the Service's annotation asks for, where that leaves it strict.
func strictOnceGone(o *object.Object, view *policy.View) (policy.FencedHost, bool) {
	host := hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
	decision := view.Service(host, nil)
	return policy.FencedHost{Host: host.FQDN(view.Config().ClusterDomain), Decision: decision}, decision.Fence == policy.Strict
}

// stays reports whether something keeps a host in this cluster when its Service is gone: its companions, where the config
// names the Service, or the mesh config. What the Service's annotation asks for goes with it.
func stays(o *object.Object, view *policy.View) bool {
	_, strict := strictOnceGone(o, view)
	host, config := hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}, view.Config()
	return strict && (config.Active().Has(policy.MeshConfig) || config.Active() != 0 && config.Names(host))
}
