package inject

import (
	"fmt"
	"maps"
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// routeEditor collects what one VirtualService needs.
type routeEditor struct {
	Plan
	metadata object.Metadata
	route    *object.VirtualService
	view     *policy.View
	config   *policy.Config
	// ours are the routes that an earlier admission appended and that are still as it left them.
	ours present
	// beside reports whether a companion has the sections of which the VirtualService has no route.
	beside bool
}

// virtualService sends the destinations of strict hosts that name no subset to the reserved one, where
// subset is the only active hold (rows A2, C1, C4 and C6), and what no route of the VirtualService takes too (rows
// A3 and C9). From every other destination the reserved subset goes again, and so do the routes: another hold
// needs none, and the DestinationRule that had the subset may be gone. Nothing is added to what Flagger keeps.
func virtualService(o *object.Object, view *policy.View) Plan {
	annotations := o.Metadata.Annotations
	had := parseRoutes(annotations[policy.InjectedAnnotation])
	e := routeEditor{
		metadata: o.Metadata, route: o.VirtualService, view: view, config: view.Config(),
		ours: presentRoutes(o.VirtualService, &had.Routes),
	}
	e.destinations()
	t, wanted := e.lacking()
	has := routeRecord{Routes: wanted}
	want := parseRoutes(has.String())
	if !e.ours.end(e.route, wanted) || !maps.EqualFunc(e.ours, presentRoutes(e.route, &want.Routes), slices.Equal) {
		e.replace(wanted, t)
	}
	has.note(e.suppress(annotations[analyzeSuppress], e.message(len(wanted) > 0), had.message()))
	e.setString([]string{"metadata", "annotations"}, policy.InjectedAnnotation, annotations, has.String())
	return e.Plan
}

// destinations gives the destinations of a user's routes the reserved subset, or takes it from them.
func (e *routeEditor) destinations() {
	var name, host string
	var match policy.Match
	for path, destination := range e.route.Destinations() {
		if destination.Subset != "" && destination.Subset != policy.ReservedSubset || e.ours.holds(path) {
			continue
		}
		if host == "" || destination.Host != name { // most have the same
			name, host = destination.Host, hostname.Resolve(destination.Host, e.metadata.Namespace, e.config.ClusterDomain)
			match = e.view.Match(host)
		}
		wanted := e.config.Active().Only(policy.Subset) && match.Has(policy.Strict)
		switch {
		case wanted && destination.Subset == "":
			subset := slices.Concat(path, []string{"subset"})
			if !e.byFlagger() {
				e.add(subset, policy.ReservedSubset)
			}
			e.Gaps = append(e.Gaps, Gap{
				Lacking: LacksDestinationSubset, Hold: policy.Subset,
				Path:  subset,
				Value: "",
				At:    fmt.Sprintf("destination %s", host),
				Host:  match.Host(policy.Strict),
				Must:  fmt.Sprintf("be set, for example to %q", policy.ReservedSubset),
				Fix:   e.fix(),
			})
		case !wanted && destination.Subset != "":
			e.remove(slices.Concat(path, []string{"subset"}), 0)
		}
	}
}

// message returns the one of istioctl analyze that what admission does brings with it; empty where there is none.
func (e *routeEditor) message(appends bool) string {
	switch {
	case appends:
		return ist0112
	case e.beside:
		return ist0109
	}
	return ""
}

// byFlagger reports whether Flagger keeps the VirtualService. It compares the whole spec with what it wrote, and where that
// differs writes it again with its first weights (reconcileVirtualService in its pkg/router/istio.go): every canary
// would be back at 100 and 0 at every tick.
func (e *routeEditor) byFlagger() bool {
	return e.route.Owner != nil && e.route.Owner.Group() == object.GroupFlagger
}

// fix is what helps where admission adds nothing; empty where it does.
func (e *routeEditor) fix() string {
	if !e.byFlagger() {
		return ""
	}
	return fmt.Sprintf("use hold meshConfig or locality, because Flagger would set the weights of %s %s back whenever admission adds something",
		e.route.Owner.Kind, e.route.Owner.Name)
}

// replace takes away the routes of earlier admissions, from the last one on so that the indexes of the others
// stay, and appends those that are wanted.
func (e *routeEditor) replace(wanted appended, t takeover) {
	for _, section := range sections {
		for _, i := range e.ours[section] {
			e.remove(route(section, i), 1)
		}
		for _, item := range wanted[section] {
			e.add([]string{"spec", section, "-"}, item)
		}
		if len(wanted[section]) > 0 {
			e.lacks(section, t.host, fmt.Sprintf("for example to the subset %q", policy.ReservedSubset))
		}
	}
}

func (e *routeEditor) lacks(section string, host policy.FencedHost, how string) {
	e.Gaps = append(e.Gaps, Gap{
		Lacking: LacksRoutes, Hold: policy.Subset,
		Path: []string{"spec", section},
		At:   "the rest of " + section,
		Host: host,
		Must: "hold a route for every client and port, " + how,
	})
}
