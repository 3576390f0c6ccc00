package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meshfence/meshfence/policy/hostname"
)

// configFile is the FenceConfig as it is written.
type configFile struct {
	// Required: config.meshfence.io/v1alpha1.
	APIVersion string `json:"apiVersion"`
	// Required: FenceConfig.
	Kind string `json:"kind"`
	// Which clusters, and which Istio, this installation is for.
	ControlPlane controlPlaneFile `json:"controlPlane"`
	// Required: what makes a fence true on the wire, any set of meshConfig, locality and subset.
	Holds []string `json:"holds"`
	// For hold locality: the localities of each cluster, such as region/zone/subzone or region/*. Without an entry this
	// cluster's come from the labels of its Nodes. No two clusters may share one.
	Localities map[string][]string `json:"localities"`
	// Which Services are fenced, beside what annotations and labels ask for.
	Scope scopeFile `json:"scope"`
	// What becomes of a finding: enforce refuses the object, warn lets it pass with a warning, audit only counts and
	// records. Default: enforce. A label on the Namespace of the fenced host overrides it.
	Enforcement string `json:"enforcement"`
	// Findings that are accepted until a day has passed.
	Exemptions []exemptionFile `json:"exemptions"`
}

type controlPlaneFile struct {
	// Required: istiod's CLUSTER_ID of every cluster whose workloads read the Istio config of this API server; mostly
	// one.
	Clusters []string `json:"clusters"`
	// The namespace of istiod and of its root config. Default: istio-system.
	IstioNamespace string `json:"istioNamespace"`
	// The mesh ConfigMaps in that namespace, one for each revision of istiod. Default: istio.
	MeshConfigMaps []string `json:"meshConfigMaps"`
	// The DNS domain of Services. Default: cluster.local.
	ClusterDomain string `json:"clusterDomain"`
	// This cluster's Istio network, if the mesh has several. Default: none.
	Network string `json:"network"`
}

type scopeFile struct {
	// The fence of what nothing else names: strict, prefer or none. Default: none.
	Default string `json:"default"`
	// Fences of namespaces.
	Namespaces []namespaceFile `json:"namespaces"`
	// Fences of single Services. One that does not exist here is fenced too.
	Services []serviceFile `json:"services"`
	// Namespaces that are never fenced or touched. Default: kube-system, kube-public, kube-node-lease, the Istio
	// namespace and the install namespace.
	ExemptNamespaces []string `json:"exemptNamespaces"`
}

type namespaceFile struct {
	// The name of the Namespace; either this or a selector.
	Name string `json:"name"`
	// Chooses Namespaces by their labels.
	Selector *metav1.LabelSelector `json:"selector"`
	// strict, prefer or none.
	Fence string `json:"fence"`
	// Makes the fence a floor, which nothing more specific can loosen. Default: false.
	Locked bool `json:"locked"`
}

type serviceFile struct {
	// The namespace of the Service.
	Namespace string `json:"namespace"`
	// The name of the Service.
	Name string `json:"name"`
	// strict, prefer or none.
	Fence string `json:"fence"`
	// Makes the fence a floor, which nothing more specific can loosen. Default: false.
	Locked bool `json:"locked"`
}

type exemptionFile struct {
	// The id of the rule.
	Rule string `json:"rule"`
	// The namespace of the objects.
	Namespace string `json:"namespace"`
	// The name of one object. Without this and a selector the exemption is for every object of the namespace.
	Name string `json:"name"`
	// Chooses objects by their labels.
	Selector *metav1.LabelSelector `json:"selector"`
	// The last day on which the exemption counts, in UTC, such as 2026-12-31.
	Until string `json:"until"`
	// Why it is accepted.
	Reason string `json:"reason"`
}

func (f *configFile) setDefaults() {
	f.ControlPlane.IstioNamespace = cmp.Or(f.ControlPlane.IstioNamespace, "istio-system")
	f.ControlPlane.ClusterDomain = cmp.Or(f.ControlPlane.ClusterDomain, "cluster.local")
	f.Scope.Default = cmp.Or(f.Scope.Default, None.String())
	f.Enforcement = cmp.Or(f.Enforcement, string(Enforce))
	if f.ControlPlane.MeshConfigMaps == nil {
		f.ControlPlane.MeshConfigMaps = []string{"istio"}
	}
}

// build validates what is written; a problem of the document means that the Config is not to be used.
func (f *configFile) build(d *document, src Source) *Config {
	d.check(f.APIVersion == configAPIVersion, "apiVersion", "%q must be %q", f.APIVersion, configAPIVersion)
	d.check(f.Kind == configKind, "kind", "%q must be %q", f.Kind, configKind)
	config := &Config{
		Clusters:       f.ControlPlane.Clusters,
		IstioNamespace: f.ControlPlane.IstioNamespace,
		MeshConfigMaps: f.ControlPlane.MeshConfigMaps,
		ClusterDomain:  f.ControlPlane.ClusterDomain,
		Network:        f.ControlPlane.Network,
		Localities:     f.Localities,
		Enforcement:    Enforcement(f.Enforcement),
	}
	_, ok := ParseEnforcement(f.Enforcement)
	d.check(ok, "enforcement", "%q must be one of %s", f.Enforcement, strings.Join(Enforcements(), ", "))
	for i, name := range f.Holds {
		hold, ok := ParseHold(name)
		d.check(ok, fmt.Sprintf("holds[%d]", i), "%q must be one of meshConfig, locality, subset", name)
		config.Holds |= Holds(hold)
	}
	d.checkControlPlane(config)
	d.checkHolds(config, f.Holds)
	d.checkLocalities(config)
	config.scope = f.Scope.build(d, f.exempt(d, src))
	for i, e := range f.Exemptions {
		config.Exemptions = append(config.Exemptions, e.build(d, fmt.Sprintf("exemptions[%d]", i), src.Rules))
	}
	return config
}

func (d *document) checkControlPlane(c *Config) {
	d.checkLabel("controlPlane.istioNamespace", "Namespace", c.IstioNamespace)
	d.checkSubdomain("controlPlane.clusterDomain", "a DNS domain", c.ClusterDomain)
	for i, name := range c.MeshConfigMaps {
		d.checkSubdomain(fmt.Sprintf("controlPlane.meshConfigMaps[%d]", i), "the name of a ConfigMap", name)
	}
	d.check(len(validation.IsValidLabelValue(c.Network)) == 0, "controlPlane.network",
		"%q must be a valid label value", c.Network)
	d.check(len(c.Clusters) > 0, "controlPlane.clusters", "must list at least one cluster id (istiod's CLUSTER_ID)")
	for i, id := range c.Clusters {
		field := fmt.Sprintf("controlPlane.clusters[%d]", i)
		d.checkCluster(field, id)
		d.check(!slices.Contains(c.Clusters[:i], id), field, "%q must not be listed twice", id)
		if len(c.Clusters) > 1 && c.Holds.Has(Subset) {
			d.check(hostname.IsLabel(strings.ToLower(reservedPrefix+id)), field, "%q must be at most %d letters, digits and "+
				"dashes, because hold subset names a subset after it", id, validation.DNS1123LabelMaxLength-len(reservedPrefix))
		}
	}
}

// checkHolds refuses sets of holds that cannot hold anything (B17).
func (d *document) checkHolds(c *Config, written []string) {
	d.check(len(written) > 0, "holds", "must list at least one of meshConfig, locality, subset")
	d.check(!c.Holds.Only(Subset) || len(c.Clusters) < 2, "holds", "must have meshConfig or locality beside subset, "+
		"because a cluster label would send the clients of several control plane clusters to one of them")
	d.check(!c.Holds.Has(MeshConfig) || len(c.MeshConfigMaps) > 0, "controlPlane.meshConfigMaps",
		"must list at least one ConfigMap, because hold meshConfig edits it")
	for _, cluster := range c.Clusters {
		_, listed := c.Localities[cluster]
		d.check(listed || !c.Holds.Has(Locality) || len(c.Clusters) == 1, "localities",
			"must list the localities of cluster %q, because hold locality needs them, and Nodes tell those of one cluster alone", cluster)
	}
}

// exempt returns the Namespaces that are written, or else the default ones.
func (f *configFile) exempt(d *document, src Source) map[string]bool {
	if f.Scope.ExemptNamespaces == nil {
		own := cmp.Or(src.InstallNamespace, InstallNamespace)
		return map[string]bool{"kube-system": true, "kube-public": true, "kube-node-lease": true,
			f.ControlPlane.IstioNamespace: true, own: true}
	}
	exempt := map[string]bool{}
	for i, name := range f.Scope.ExemptNamespaces {
		d.checkLabel(fmt.Sprintf("scope.exemptNamespaces[%d]", i), "Namespace", name)
		exempt[name] = true
	}
	return exempt
}

func (s scopeFile) build(d *document, exempt map[string]bool) scope {
	built := scope{fallback: d.checkFence("scope.default", s.Default), services: map[hostname.Host]entry{}, exempt: exempt}
	for i, n := range s.Namespaces {
		entry := n.build(d, fmt.Sprintf("scope.namespaces[%d]", i), exempt)
		entry.at = i
		built.namespaces.add(entry)
	}
	for i, service := range s.Services {
		field := fmt.Sprintf("scope.services[%d]", i)
		d.checkLabel(field+".name", "Service", service.Name)
		d.checkFenced(field+".namespace", service.Namespace, exempt)
		host := hostname.Host{Namespace: service.Namespace, Name: service.Name}
		_, twice := built.services[host]
		d.check(!twice, field, "%q must not be listed twice", service.Namespace+"/"+service.Name)
		built.services[host] = newEntry(d, field, service.Fence, service.Locked)
	}
	return built
}

func (n namespaceFile) build(d *document, field string, exempt map[string]bool) namespaceEntry {
	built := namespaceEntry{name: n.Name, entry: newEntry(d, field, n.Fence, n.Locked)}
	if (n.Name == "") == (n.Selector == nil) {
		d.add(field, "must have either name or selector")
		return built
	}
	if n.Selector == nil {
		d.checkFenced(field+".name", n.Name, exempt)
		return built
	}
	built.selector = d.checkSelector(field+".selector", n.Selector, "scope.default fences every Namespace")
	return built
}

func newEntry(d *document, field, fence string, locked bool) entry {
	e := entry{fence: d.checkFence(field+".fence", fence), locked: locked, by: "config " + field}
	if locked {
		e.by += " (locked)"
	}
	return e
}

func (e exemptionFile) build(d *document, field string, rules []string) Exemption {
	d.check(slices.Contains(rules, e.Rule), field+".rule", "%q must be the id of a rule", e.Rule)
	d.check(e.Namespace != "", field+".namespace", "must be set")
	d.check(e.Name == "" || e.Selector == nil, field, "must have either name or selector, or neither for every object of the Namespace")
	d.check(e.Reason != "", field+".reason", "must be set")
	until, err := time.Parse(time.DateOnly, e.Until)
	d.check(err == nil, field+".until", "%q must be a day such as 2026-12-31", e.Until)
	built := Exemption{Rule: e.Rule, Namespace: e.Namespace, Name: e.Name, Until: until, Reason: e.Reason}
	if e.Selector != nil {
		built.Selector = d.checkSelector(field+".selector", e.Selector, "without it every object of the Namespace is exempt")
	}
	return built
}

// checkSelector returns a selector that must be valid and choose by something.
func (d *document) checkSelector(field string, written *metav1.LabelSelector, instead string) labels.Selector {
	selector, err := metav1.LabelSelectorAsSelector(written)
	if err != nil {
		d.add(field, "must be a valid selector: "+err.Error())
		return labels.Nothing()
	}
	d.check(!selector.Empty(), field, "must not be empty; %s", instead)
	return selector
}

// check adds a problem unless ok.
func (d *document) check(ok bool, field, format string, args ...any) {
	if !ok {
		d.add(field, fmt.Sprintf(format, args...))
	}
}

func (d *document) checkFence(field, name string) Fence {
	fence, ok := ParseFence(name)
	d.check(ok, field, "%q must be one of %s", name, strings.Join(Fences(), ", "))
	return fence
}

func (d *document) checkCluster(field, id string) {
	d.check(id != "" && len(validation.IsValidLabelValue(id)) == 0, field,
		"%q must be a cluster id, which is a valid label value", id)
	d.check(id != Placeholder, field, "%q must be istiod's CLUSTER_ID: this is what the example leaves to be filled in", id)
}

// Placeholder stands for a cluster id in the example of a FenceConfig. No id is meant by it.
const Placeholder = "EDIT-THIS"

func (d *document) checkLabel(field, kind, name string) {
	d.check(hostname.IsLabel(name), field, "%q must be the name of a %s (lower-case letters, digits and dashes, at most %d)",
		name, kind, validation.DNS1123LabelMaxLength)
}

func (d *document) checkSubdomain(field, what, name string) {
	d.check(len(validation.IsDNS1123Subdomain(name)) == 0, field,
		"%q must be %s (lower-case letters, digits, dashes and dots)", name, what)
}

func (d *document) checkFenced(field, namespace string, exempt map[string]bool) {
	d.checkLabel(field, "Namespace", namespace)
	d.check(!exempt[namespace], field, "%q must not be one of scope.exemptNamespaces, which are never fenced", namespace)
}
