package leak

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/meshfence/meshfence/policy"
)

// Standing returns the findings for the objects that let the traffic of a Service out because of this write: the
// Service comes second. Where it has become strict they are warnings, because nothing is mended by refusing that.
// Where a strict one changes so that an object joins it or catches what is for it, which did neither before, they are
// what they would be if that object came second [D14].
func (g *Guard) Standing(w Write, view *policy.View) []Finding {
	host := policy.Host{Namespace: w.Metadata.Namespace, Name: w.Metadata.Name}
	if w.Deleted || view.Service(host, w.Metadata.Annotations).Fence != policy.Strict {
		return nil
	}
	switch {
	case w.Old == nil || view.Service(host, w.Old.Metadata.Annotations).Fence != policy.Strict:
		tell(view, host, w.Object)
		return g.inTheWay(host, view)
	case reflect.DeepEqual(backs(w.Object), backs(w.Old)):
		return nil
	}
	return g.caught(w, host, view)
}

// tell makes a view take a Service for what it is in an object.
func tell(view *policy.View, host policy.Host, o *policy.Object) {
	view.LoadService(host, o.Metadata.Annotations)
	view.LoadServiceSpec(host, *o.Service)
}

// backs returns what relates a Service to other objects.
func backs(o *policy.Object) policy.ServiceSpec {
	spec := *o.Service
	spec.Status, spec.ExternalIPs, spec.Owner = policy.ServiceStatus{}, nil, nil
	return spec
}

// inTheWay returns what stands in the way of a Service that has become strict.
func (g *Guard) inTheWay(host policy.Host, view *policy.View) []Finding {
	fqdn := host.FQDN(view.Config().ClusterDomain)
	var findings []Finding
	for _, o := range view.Related(host) {
		for _, f := range g.About(o, fqdn, view) {
			if len(f.Hosts) > 0 {
				f.Severity = Warn
				findings = append(findings, f.elsewhere())
			}
		}
	}
	return findings
}

// caught returns the findings that a strict Service brings in with a change of its own. What the backfill repairs as
// soon as the Service has changed does not count.
func (g *Guard) caught(w Write, host policy.Host, view *policy.View) []Finding {
	tell(view, host, w.Object)
	related := view.Related(host)
	now := make([][]hit, len(related))
	for i, o := range related {
		now[i] = g.hits(Write{Object: o}, view)
	}
	tell(view, host, w.Old)
	var list []Finding
	for i, o := range related {
		if len(now[i]) == 0 {
			continue
		}
		fresh := slices.DeleteFunc(introduced(now[i], g.hits(Write{Object: o}, view)), func(h hit) bool { return h.repaired })
		for _, f := range findings(o, fresh) {
			list = append(list, f.elsewhere())
		}
	}
	tell(view, host, w.Object)
	return list
}

// elsewhere returns the finding with the object in its field, for who writes another one.
func (f Finding) elsewhere() Finding {
	f.Field = fmt.Sprintf("%s %s/%s: %s", f.Kind, f.Namespace, f.Name, f.Field)
	return f
}
