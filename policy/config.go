package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// The names of the ConfigMap that holds the FenceConfig, and of the type in it.
const (
	// ConfigMapName is the ConfigMap in the install namespace.
	ConfigMapName = "meshfence"
	// ConfigMapKey is its key.
	ConfigMapKey = "config.yaml"
	// InstallNamespace is the namespace that the manifests install meshfence in.
	InstallNamespace = "meshfence-system"

	configAPIVersion = "config.meshfence.io/v1alpha1"
	configKind       = "FenceConfig"
)

// Enforcement says what becomes of a finding.
type Enforcement string

const (
	// Enforce refuses the request.
	Enforce Enforcement = "enforce"
	// Warn lets it through with an admission warning.
	Warn Enforcement = "warn"
	// Audit lets it through, and only counts and records.
	Audit Enforcement = "audit"
)

// ParseEnforcement returns the enforcement of that exact name.
func ParseEnforcement(name string) (Enforcement, bool) {
	e := Enforcement(name)
	return e, e == Enforce || e == Warn || e == Audit
}

// Config is a validated FenceConfig. It is immutable and safe to share.
type Config struct {
	// Clusters are the ids of the clusters whose workloads read the Istio config of this API server.
	Clusters []string
	// IstioNamespace is the namespace of istiod and of its root config.
	IstioNamespace string
	// MeshConfigMaps are the names of the mesh ConfigMaps in IstioNamespace, one for each istiod revision.
	MeshConfigMaps []string
	// ClusterDomain is the DNS domain of Services, for example cluster.local.
	ClusterDomain string
	// Network is this cluster's Istio network; empty where the mesh has one network.
	Network string
	// Holds are the active holds.
	Holds Holds
	// Localities maps a cluster to its localities (region/zone/subzone, or with a closing wildcard).
	Localities map[string][]string
	// Enforcement is the default for every namespace.
	Enforcement Enforcement
	// Exemptions are the findings that a person has accepted for a while.
	Exemptions []Exemption

	scope scope
}

// Exemption accepts the findings of one rule for one object until a day has passed.
type Exemption struct {
	Rule, Namespace, Name string
	// Until is the last day on which it counts, in UTC.
	Until  time.Time
	Reason string
}

// Covers says whether the exemption holds for a rule and an object at that moment.
func (e Exemption) Covers(rule, namespace, name string, now time.Time) bool {
	return e.Rule == rule && e.Namespace == namespace && e.Name == name && now.Before(e.Until.AddDate(0, 0, 1))
}

// Source says how to read a FenceConfig.
type Source struct {
	// File names the config in messages.
	File string
	// InstallNamespace is exempt by default; empty means the one of the manifests.
	InstallNamespace string
	// Rules are the ids that exemptions may name.
	Rules []string
}

// configFile is the FenceConfig as it is written.
type configFile struct {
	APIVersion   string              `json:"apiVersion"`
	Kind         string              `json:"kind"`
	ControlPlane controlPlaneFile    `json:"controlPlane"`
	Holds        []string            `json:"holds"`
	Localities   map[string][]string `json:"localities"`
	Scope        scopeFile           `json:"scope"`
	Enforcement  string              `json:"enforcement"`
	Exemptions   []exemptionFile     `json:"exemptions"`
}

type controlPlaneFile struct {
	Clusters       []string `json:"clusters"`
	IstioNamespace string   `json:"istioNamespace"`
	MeshConfigMaps []string `json:"meshConfigMaps"`
	ClusterDomain  string   `json:"clusterDomain"`
	Network        string   `json:"network"`
}

type scopeFile struct {
	Default          string          `json:"default"`
	Namespaces       []namespaceFile `json:"namespaces"`
	Services         []serviceFile   `json:"services"`
	ExemptNamespaces []string        `json:"exemptNamespaces"`
}

type namespaceFile struct {
	Name     string                `json:"name"`
	Selector *metav1.LabelSelector `json:"selector"`
	Fence    string                `json:"fence"`
	Locked   bool                  `json:"locked"`
}

type serviceFile struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Fence     string `json:"fence"`
	Locked    bool   `json:"locked"`
}

type exemptionFile struct {
	Rule      string `json:"rule"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Until     string `json:"until"`
	Reason    string `json:"reason"`
}

// ParseConfig reads, defaults and validates a FenceConfig. The error is a *ConfigError that lists every
// problem; unknown fields and wrong types hide what a later check would find.
func ParseConfig(src Source, data []byte) (*Config, error) {
	var file configFile
	doc := decodeStrict(src.File, data, &file)
	if len(doc.problems) > 0 {
		return nil, &ConfigError{Problems: sortProblems(doc.problems)}
	}
	file.setDefaults(src)
	config := file.build(doc, src)
	if len(doc.problems) > 0 {
		return nil, &ConfigError{Problems: sortProblems(doc.problems)}
	}
	return config, nil
}

func (f *configFile) setDefaults(src Source) {
	setDefault(&f.ControlPlane.IstioNamespace, "istio-system")
	setDefault(&f.ControlPlane.ClusterDomain, "cluster.local")
	setDefault(&f.Scope.Default, None.String())
	setDefault(&f.Enforcement, string(Enforce))
	if f.ControlPlane.MeshConfigMaps == nil {
		f.ControlPlane.MeshConfigMaps = []string{"istio"}
	}
	if f.Scope.ExemptNamespaces == nil {
		own := src.InstallNamespace
		setDefault(&own, InstallNamespace)
		f.Scope.ExemptNamespaces = []string{"kube-system", "kube-public", "kube-node-lease", f.ControlPlane.IstioNamespace, own}
	}
}

func setDefault(value *string, to string) {
	if *value == "" {
		*value = to
	}
}

func (f *configFile) build(doc *document, src Source) *Config {
	doc.require("apiVersion", f.APIVersion, configAPIVersion)
	doc.require("kind", f.Kind, configKind)
	config := &Config{
		Clusters:       f.ControlPlane.Clusters,
		IstioNamespace: doc.namespaceName("controlPlane.istioNamespace", f.ControlPlane.IstioNamespace),
		MeshConfigMaps: f.ControlPlane.MeshConfigMaps,
		ClusterDomain:  f.ControlPlane.ClusterDomain,
		Network:        f.ControlPlane.Network,
		Localities:     f.Localities,
	}
	for _, message := range validation.IsDNS1123Subdomain(config.ClusterDomain) {
		doc.add("controlPlane.clusterDomain", message)
	}
	for i, name := range config.MeshConfigMaps {
		for _, message := range validation.IsDNS1123Subdomain(name) {
			doc.add(fmt.Sprintf("controlPlane.meshConfigMaps[%d]", i), message)
		}
	}
	if len(config.Clusters) == 0 {
		doc.add("controlPlane.clusters", "must list at least one cluster id (istiod's CLUSTER_ID)")
	}
	for i, id := range config.Clusters {
		field := fmt.Sprintf("controlPlane.clusters[%d]", i)
		for _, message := range validation.IsValidLabelValue(id) {
			doc.add(field, message)
		}
		if id == "" || slices.Contains(config.Clusters[:i], id) {
			doc.add(field, fmt.Sprintf("%q must be a cluster id that stands once", id))
		}
	}
	var ok bool
	if config.Enforcement, ok = ParseEnforcement(f.Enforcement); !ok {
		doc.add("enforcement", fmt.Sprintf("%q must be one of enforce, warn, audit", f.Enforcement))
	}
	f.buildHolds(doc, config)
	config.scope = f.Scope.build(doc)
	for i, e := range f.Exemptions {
		config.Exemptions = append(config.Exemptions, e.build(doc, fmt.Sprintf("exemptions[%d]", i), src.Rules))
	}
	return config
}

// buildHolds refuses sets of holds that cannot hold anything (B17, and section 2.2 of the catalogue).
func (f *configFile) buildHolds(doc *document, config *Config) {
	for i, name := range f.Holds {
		hold, ok := ParseHold(name)
		if !ok {
			doc.add(fmt.Sprintf("holds[%d]", i), fmt.Sprintf("%q must be one of meshConfig, locality, subset", name))
		}
		config.Holds |= Holds(hold)
	}
	if len(f.Holds) == 0 {
		doc.add("holds", "must list at least one of meshConfig, locality, subset")
	}
	if config.Holds.Only(Subset) && len(config.Clusters) > 1 {
		doc.add("holds", "must have meshConfig or locality beside subset, because a cluster label would send the clients of "+
			"several control plane clusters to one of them")
	}
	owner := map[string]string{}
	for _, cluster := range slices.Sorted(maps.Keys(f.Localities)) {
		field := "localities." + cluster
		if !slices.Contains(config.Clusters, cluster) {
			doc.add(field, "must be one of controlPlane.clusters")
		}
		if len(f.Localities[cluster]) == 0 || len(f.Localities[cluster]) > 100 {
			doc.add(field, "must list 1 to 100 localities")
		}
		for i, locality := range f.Localities[cluster] {
			at := fmt.Sprintf("%s[%d]", field, i)
			if message := checkLocality(locality); message != "" {
				doc.add(at, message)
			}
			for other, of := range owner {
				if localitiesOverlap(locality, other) {
					doc.add(at, fmt.Sprintf("%q must not overlap %q of cluster %s", locality, other, of))
				}
			}
			owner[locality] = cluster
		}
	}
	if config.Holds.Has(Locality) {
		for _, cluster := range config.Clusters {
			if _, ok := f.Localities[cluster]; !ok {
				doc.add("localities", fmt.Sprintf("must list the localities of cluster %q, because hold locality needs them", cluster))
			}
		}
	}
}

// checkLocality accepts region, region/zone and region/zone/subzone, with a closing wildcard at most
// (Istio's validation of distribute).
func checkLocality(locality string) string {
	parts := strings.Split(locality, "/")
	if len(parts) > 3 || slices.Contains(parts, "") || parts[0] == "*" {
		return fmt.Sprintf("%q must be region, region/zone or region/zone/subzone", locality)
	}
	if i := strings.Index(locality, "*"); i >= 0 && (i != len(locality)-1 || locality[i-1] != '/') {
		return fmt.Sprintf("%q must have a wildcard only as its last part", locality)
	}
	return ""
}

// localitiesOverlap says whether an endpoint can stand in both localities.
func localitiesOverlap(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := range min(len(as), len(bs)) {
		if as[i] == "*" || bs[i] == "*" {
			return true
		}
		if as[i] != bs[i] {
			return false
		}
	}
	return true
}

func (e exemptionFile) build(doc *document, field string, rules []string) Exemption {
	if !slices.Contains(rules, e.Rule) {
		doc.add(field+".rule", fmt.Sprintf("%q must be the id of a rule", e.Rule))
	}
	for _, f := range []struct{ name, value string }{{"namespace", e.Namespace}, {"name", e.Name}, {"reason", e.Reason}} {
		if f.value == "" {
			doc.add(field+"."+f.name, "must be set")
		}
	}
	until, err := time.Parse(time.DateOnly, e.Until)
	if err != nil {
		doc.add(field+".until", fmt.Sprintf("%q must be a day such as 2026-12-31", e.Until))
	}
	return Exemption{Rule: e.Rule, Namespace: e.Namespace, Name: e.Name, Until: until, Reason: e.Reason}
}

func (d *document) require(field, got, want string) {
	if got != want {
		d.add(field, fmt.Sprintf("%q must be %q", got, want))
	}
}

func (d *document) fence(field, name string) Fence {
	fence, ok := ParseFence(name)
	if !ok {
		d.add(field, fmt.Sprintf("%q must be one of %s", name, strings.Join(Fences(), ", ")))
	}
	return fence
}

func (d *document) namespaceName(field, name string) string {
	for _, message := range validation.IsDNS1123Label(name) {
		d.add(field, fmt.Sprintf("%q must be the name of a namespace: %s", name, message))
	}
	return name
}

func (s scopeFile) build(doc *document) scope {
	built := scope{
		fallback: doc.fence("scope.default", s.Default),
		services: map[Host]entry{},
		exempt:   map[string]bool{},
	}
	for i, name := range s.ExemptNamespaces {
		built.exempt[doc.namespaceName(fmt.Sprintf("scope.exemptNamespaces[%d]", i), name)] = true
	}
	for i, n := range s.Namespaces {
		field := fmt.Sprintf("scope.namespaces[%d]", i)
		selector := labels.Everything()
		if (n.Name == "") == (n.Selector == nil) {
			doc.add(field, "must have either name or selector")
		} else if n.Selector != nil {
			var err error
			if selector, err = metav1.LabelSelectorAsSelector(n.Selector); err != nil {
				doc.add(field+".selector", err.Error())
			} else if selector.Empty() {
				doc.add(field+".selector", "must not be empty; scope.default fences every namespace")
			}
		} else {
			doc.namespaceName(field+".name", n.Name)
			doc.notExempt(field+".name", n.Name, built.exempt)
		}
		built.namespaces = append(built.namespaces, namespaceEntry{
			entry:    entry{fence: doc.fence(field+".fence", n.Fence), locked: n.Locked, by: "config " + field},
			name:     n.Name,
			selector: selector,
		})
	}
	for i, svc := range s.Services {
		field := fmt.Sprintf("scope.services[%d]", i)
		doc.namespaceName(field+".namespace", svc.Namespace)
		doc.notExempt(field+".namespace", svc.Namespace, built.exempt)
		for _, message := range validation.IsDNS1123Label(svc.Name) {
			doc.add(field+".name", fmt.Sprintf("%q must be the name of a Service: %s", svc.Name, message))
		}
		host := Host{Namespace: svc.Namespace, Name: svc.Name}
		if first, ok := built.services[host]; ok {
			doc.add(field, fmt.Sprintf("must not name a Service twice, see %s", strings.TrimPrefix(first.by, "config ")))
		}
		built.services[host] = entry{fence: doc.fence(field+".fence", svc.Fence), locked: svc.Locked, by: "config " + field}
	}
	return built
}

func (d *document) notExempt(field, namespace string, exempt map[string]bool) {
	if exempt[namespace] {
		d.add(field, fmt.Sprintf("%q must not be one of scope.exemptNamespaces, which are never fenced", namespace))
	}
}
