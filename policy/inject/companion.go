package inject

import (
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// Contracts of companions: their label, and the end of their names.
const (
	// ManagedByLabel has the value ManagedBy on every companion.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	// ManagedBy names meshfence.
	ManagedBy = "meshfence"

	companionSuffix = "-meshfence"
)

// CompanionName returns the name of the companions of a Service.
func CompanionName(service string) string { return service + companionSuffix }

// IsCompanion reports whether an object of that name and with those labels is one of ours; any other of such a name is a
// user's.
func IsCompanion(name string, labels map[string]string) bool {
	_, named := CompanionOf(name)
	return named && labels[ManagedByLabel] == ManagedBy
}

// CompanionOf returns the Service whose companions have that name, if it is one of theirs.
func CompanionOf(name string) (service string, ok bool) {
	service, ok = strings.CutSuffix(name, companionSuffix)
	if !ok || service == "" {
		return "", false
	}
	return service, true
}

// Companions are the objects that make a fence true for a Service that has none of its own.
type Companions struct {
	// Rule is a DestinationRule, Route a VirtualService; nil where the Service needs none.
	Rule, Route *Companion
	// RuleStays reports whether nobody can tell for now all that Rule must hold, because the localities of this cluster
	// are not known: one that exists keeps what it has and gets the subsets of Rule. Where Rule is nil none is made.
	RuleStays bool
}

// Companion is what one object must hold besides its name, its labels and its owner.
type Companion struct {
	Annotations map[string]string
	Spec        map[string]any
}

// CompanionsOf returns the companions that a Service, whose ports speak so, needs as long as nobody wrote a DestinationRule
// or a VirtualService for it. Admission changes nothing in them. They are exported to every namespace in so many
// words, because MeshConfig may set another default (row B3).
func CompanionsOf(host hostname.Host, speaks policy.Speech, view *policy.View) Companions {
	config := view.Config()
	fqdn := host.FQDN(config.ClusterDomain)
	match := view.Match(fqdn)
	strict := match.Has(policy.Strict)
	var c Companions
	if strict && config.Holds.Has(policy.Locality) {
		_, err := Distribute(config)
		c.RuleStays = err != nil
	}
	alone := config.Active().Only(policy.Subset)
	if c.RuleStays && !alone {
		return c
	}
	if match.Has(policy.Prefer) || strict && (config.Holds.Has(policy.Locality) || alone) {
		c.Rule = companionRule(host.Namespace, fqdn, view)
	}
	if strict && alone {
		c.Route = companionRoute(host, fqdn, speaks)
	}
	return c
}

// companionRule returns an empty rule with all that admission would add to it.
func companionRule(namespace, fqdn string, view *policy.View) *Companion {
	plan := destinationRule(&object.Object{
		Kind:            object.KindDestinationRule,
		Metadata:        object.Metadata{Namespace: namespace},
		DestinationRule: &object.DestinationRule{Host: fqdn},
	}, view)
	rule := &Companion{Annotations: map[string]string{}, Spec: map[string]any{"host": fqdn, "exportTo": []any{"*"}}}
	for _, e := range plan.Edits {
		if value, ok := e.Value.(string); ok && e.Path[0] == "metadata" {
			rule.Annotations[e.Path[2]] = value
			continue
		}
		put(rule.Spec, e.Path[1:], e.Value)
	}
	return rule
}

// HasReserved reports whether a DestinationRule has the reserved subset of a control plane cluster, so that a route
// which leads there finds endpoints.
func HasReserved(rule *object.DestinationRule, config *policy.Config) bool {
	wanted := policy.ReservedSubsets(config.Clusters)
	return slices.ContainsFunc(rule.Subsets, func(s object.RuleSubset) bool {
		cluster, reserved := wanted[s.Name]
		return reserved && s.Labels[policy.ClusterLabel] == cluster
	})
}

// put adds a value to an object that has no lists but those that put made.
func put(object map[string]any, path object.Path, value any) {
	field, rest := path[0], path[1:]
	switch {
	case len(rest) == 0:
		object[field] = value
	case rest[0] == "-":
		list, _ := object[field].([]any)
		object[field] = append(list, value)
	default:
		child, ok := object[field].(map[string]any)
		if !ok {
			child = map[string]any{}
			object[field] = child
		}
		put(child, rest, value)
	}
}

// ist0112 is the message about destinations without a port of Services that have several, of which Istio
// takes the port that the client chose (GetDestinationCluster in pilot/pkg/networking/core/route).
const ist0112 = "IST0112"

// ist0109 is the message about several VirtualServices of the mesh for one host, which add up as [Companion.Beside] says.
const ist0109 = "IST0109"

// Beside returns what stays of a companion VirtualService beside those that users wrote for the host: the sections of
// which these have no route, as far as a port of the Service needs them; nil where that is none. What istiod reads of a
// section is that of the first VirtualService which has a route there for the client (getConfigsForHost and what uses it
// in Istio's pilot/pkg/networking/core/tls.go, buildSidecarVirtualHostsForVirtualService in
// pilot/pkg/networking/core/route).
func (c *Companion) Beside(sections []string, speaks policy.Speech) *Companion {
	rest := &Companion{Annotations: map[string]string{analyzeSuppress: ist0109 + "," + ist0112}, Spec: maps.Clone(c.Spec)}
	left := false
	for section, needed := range map[string]bool{sectionHTTP: speaks.HTTP, sectionTLS: speaks.Bytes, sectionTCP: speaks.Bytes} {
		if !needed || slices.Contains(sections, section) {
			delete(rest.Spec, section)
			continue
		}
		left = true
	}
	if !left {
		return nil
	}
	return rest
}

// OwnSections lists the sections of which a VirtualService has a route that admission did not append.
func OwnSections(o *object.Object) []string {
	recorded := parseRoutes(o.Metadata.Annotations[policy.InjectedAnnotation]).Routes
	own := presentRoutes(o.VirtualService, &recorded).without(o.VirtualService)
	var names []string
	for section, routes := range map[string]int{sectionHTTP: len(own.HTTP), sectionTLS: len(own.TLS), sectionTCP: len(own.TCP)} {
		if routes > 0 {
			names = append(names, section)
		}
	}
	slices.Sort(names)
	return names
}

// companionRoute sends all traffic for a Service to the reserved subset. No route names a port, so that one
// that is new to the Service is held from its first moment. Each protocol needs a route of its own (rows A3
// and C6): Istio reads http for ports that speak HTTP or may do so, tls for ports named https or tls, and
// tcp for the others and for what turns out not to be HTTP (buildSidecarOutboundListener in Istio's
// pilot/pkg/networking/core/listener.go).
func companionRoute(host hostname.Host, fqdn string, speaks policy.Speech) *Companion {
	to := toReserved(fqdn)
	names := serverNames(host, fqdn, speaks)
	return &Companion{
		Annotations: map[string]string{analyzeSuppress: ist0112},
		Spec: map[string]any{
			"hosts":    names,
			"exportTo": []any{"*"},
			"http":     []any{map[string]any{"route": to}},
			"tls":      []any{map[string]any{"match": []any{map[string]any{"sniHosts": names}}, "route": to}},
			"tcp":      []any{map[string]any{"route": to}},
		},
	}
}

// serverNames lists the names by which clients ask for the Service. A tls route matches nothing but names
// that are among the hosts of its VirtualService. A connection that asks for another name leaves the mesh
// for the Service's own address, where kube-proxy keeps it in the cluster, or is closed, as the
// outboundTrafficPolicy says (buildListenerFromEntry in Istio's pilot/pkg/networking/core/listener.go). So
// where a port carries TLS the short names count too; elsewhere Istio adds them by itself.
func serverNames(host hostname.Host, fqdn string, speaks policy.Speech) []any {
	names := []any{fqdn}
	if speaks.TLS {
		qualified := host.Name + "." + host.Namespace
		names = append(names, qualified+".svc", qualified, host.Name)
	}
	return names
}

// OwnAnnotations lists the keys of the annotations that companions may have.
func OwnAnnotations() []string {
	return []string{analyzeSuppress, policy.InjectedAnnotation}
}
