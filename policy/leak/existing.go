package leak

import (
	"reflect"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// Existing returns the findings for the existing objects that let the traffic of a Service out because of this write: the
// Service comes second. Where its fence is what changes they are warnings, because nothing is fixed by refusing that.
// Where a strict one changes so that an object joins it or catches what is for it, which did neither before, they are
// what they would be if that object came second [D14].
//
// Of a Namespace it returns what a label brings in that makes its Services strict; see fenced.
func (g *Guard) Existing(w Write, view *policy.View) []Finding {
	if w.Kind == object.KindNamespace {
		return g.fenced(w, view)
	}
	host := hostname.Host{Namespace: w.Metadata.Namespace, Name: w.Metadata.Name}
	if w.Deleted {
		return nil
	}
	fence := view.Service(host, w.Metadata.Annotations).Fence
	switch {
	case w.Before() == nil || view.Service(host, w.Before().Metadata.Annotations).Fence != fence:
		return g.inTheWay(w, host, fence, view)
	case fence != policy.Strict || reflect.DeepEqual(backs(w.Object), backs(w.Before())):
		return nil
	}
	return g.caught(w, host, view)
}

// tell makes a view take a Service for what it is in an object.
func tell(view *policy.View, host hostname.Host, o *object.Object) {
	view.LoadService(host, o.Metadata.Annotations)
	view.LoadServiceSpec(host, *o.Service)
}

// backs returns what relates a Service to other objects.
func backs(o *object.Object) object.ServiceSpec {
	spec := *o.Service
	spec.Status, spec.ExternalIPs, spec.Owner = object.ServiceStatus{}, nil, nil
	return spec
}

// inTheWay returns what is in the way of a Service with a fence that it did not have, and what it brings in for
// others: a wildcard rule covers it beside strict hosts, or what led to it as to a strict one leads elsewhere now.
func (g *Guard) inTheWay(w Write, host hostname.Host, fence policy.Fence, view *policy.View) []Finding {
	fqdn := host.FQDN(view.Config().ClusterDomain)
	var objects []*object.Object
	if fence == policy.None && !wasStrict(w, host, view) {
		objects = slices.DeleteFunc(view.Covering(fqdn), func(o *object.Object) bool { return o.DestinationRule == nil })
		if len(objects) == 0 {
			return nil
		}
	}
	tell(view, host, w.Object)
	if objects == nil {
		objects = around(host, view)
	}
	before := make([]counted, len(objects))
	view.Untold(host, func() {
		for i, o := range objects {
			before[i] = counted{}
			g.each(Write{Object: o}, view, before[i].add)
		}
	})
	var list []Finding
	for i, o := range objects {
		counts := slices.DeleteFunc(g.hits(Write{Object: o}, view), func(h hit) bool {
			old := before[i].take(h)
			return h.host.Host == "" || old && (fence == policy.None || !h.about(fqdn))
		})
		for _, f := range findings(o, counts) {
			f.Severity = Warn
			f.Elsewhere = true
			list = append(list, f)
		}
	}
	return list
}

// around lists what relates to a Service, and what is on its Pods and sends on what arrives there.
func around(host hostname.Host, view *policy.View) []*object.Object {
	list := view.Related(host)
	for _, o := range append(view.GatewaysOn(host), view.HopsOn(host)...) {
		if !slices.Contains(list, o) {
			list = append(list, o)
		}
	}
	return list
}

// caught returns the findings that a strict Service brings in with a change of its own. What the backfill repairs as
// soon as the Service has changed does not count.
func (g *Guard) caught(w Write, host hostname.Host, view *policy.View) []Finding {
	tell(view, host, w.Object)
	related := around(host, view)
	now := make([][]hit, len(related))
	for i, o := range related {
		now[i] = g.hits(Write{Object: o}, view)
	}
	tell(view, host, w.Before())
	var list []Finding
	for i, o := range related {
		if len(now[i]) == 0 {
			continue
		}
		fresh := slices.DeleteFunc(introduced(now[i], g.hits(Write{Object: o}, view)), func(h hit) bool { return h.repaired })
		for _, f := range findings(o, fresh) {
			f.Elsewhere = true
			list = append(list, f)
		}
	}
	tell(view, host, w.Object)
	return list
}
