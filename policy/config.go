package policy

import (
	"crypto/sha256"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy/object"
)

// The names of the ConfigMap that holds the FenceConfig, and of the type in it.
const (
	// ConfigMapName is the ConfigMap in the install namespace.
	ConfigMapName = "meshfence"
	// ConfigMapKey is its key.
	ConfigMapKey = "config.yaml"
	// InstallNamespace is the namespace that the manifests install meshfence in.
	InstallNamespace = "meshfence-system"
	// InstallName is the name of the Deployment, the Service, the Lease and both webhook configurations.
	InstallName = "meshfence"

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

// Enforcements lists the names of all enforcements, the hardest first.
func Enforcements() []string { return []string{string(Enforce), string(Warn), string(Audit)} }

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
	// Holds are the holds that the FenceConfig names; see [Config.Active] for those that are true.
	Holds Holds
	// Localities maps a cluster of the mesh to its localities (region/zone/subzone, or with a closing wildcard).
	// Those of the one control plane cluster may be absent; see [Config.NeedsNodes].
	Localities map[string][]string
	// Enforcement is the default for every namespace.
	Enforcement Enforcement
	// Exemptions are the findings that a user has accepted for a while.
	Exemptions []Exemption

	scope scope
	// hash is that of the text.
	hash string

	// nodeShares are what the Nodes gave, nodeError says why they gave nothing.
	nodeShares Shares
	nodeError  error
	// meshFault says why hold meshConfig is not true.
	meshFault *HoldFault
	// ingress is which Ingresses istiod reads; nil where that is not known.
	ingress *IngressReading
}

// Exemption accepts the findings of one rule for objects of a Namespace until a day has passed: for the one of a name, for
// those that a selector chooses by their labels, or, with neither, for all.
type Exemption struct {
	Rule, Namespace, Name string
	// Selector is nil where the labels do not matter.
	Selector labels.Selector
	// Until is the last day on which it counts, in UTC.
	Until  time.Time
	Reason string
}

// Covers reports whether the exemption holds for a rule and an object at that moment.
func (e Exemption) Covers(rule string, object object.Metadata, now time.Time) bool {
	return e.Rule == rule && e.Namespace == object.Namespace && (e.Name == "" || e.Name == object.Name) &&
		(e.Selector == nil || e.Selector.Matches(labels.Set(object.Labels))) && now.Before(e.Until.AddDate(0, 0, 1))
}

// Objects says which objects the exemption is for.
func (e Exemption) Objects() string {
	switch {
	case e.Name != "":
		return e.Namespace + "/" + e.Name
	case e.Selector != nil:
		return "the objects of namespace " + e.Namespace + " with " + e.Selector.String()
	}
	return "every object of namespace " + e.Namespace
}

// exemptionEndsSoon is how long before its last day an exemption is spoken of.
const exemptionEndsSoon = 14 * 24 * time.Hour

// EndsSoon reports whether the exemption still counts and is about to end.
func (e Exemption) EndsSoon(now time.Time) bool {
	return e.Until.Sub(now) < exemptionEndsSoon && now.Before(e.Until.AddDate(0, 0, 1))
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

// ParseConfig reads, defaults and validates a FenceConfig. The error is a *ConfigError that lists every
// problem, in the order of the lines. What is wrong with the form (unknown fields, duplicate keys, wrong
// types) hides what is wrong with the meaning.
func ParseConfig(src Source, data []byte) (*Config, error) {
	var file configFile
	doc := decodeStrict(src.File, data, &file)
	if len(doc.problems) > 0 {
		return nil, doc.err()
	}
	file.setDefaults()
	config := file.build(doc, src)
	if len(doc.problems) > 0 {
		return nil, doc.err()
	}
	config.hash = fmt.Sprintf("%x", sha256.Sum256(data))
	return config, nil
}

// Hash returns the SHA-256 of the text that the config was read from, in hexadecimal digits.
func (c *Config) Hash() string { return c.hash }
