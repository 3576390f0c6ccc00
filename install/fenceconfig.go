package install

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/manifests"
	"github.com/meshfence/meshfence/policy"
)

// ControlPlane is what a FenceConfig says of a mesh.
type ControlPlane struct {
	Clusters       []string
	IstioNamespace string
	MeshConfigMaps []string
	ClusterDomain  string
	Network        string
}

// ControlPlaneOf returns what a mesh says of itself. The clusters are those given, or else the one of its istiods; what
// the istiods do not agree in is an error.
func ControlPlaneOf(mesh Mesh, clusters []string) (ControlPlane, error) {
	p := ControlPlane{Clusters: clusters, IstioNamespace: defaultIstio, MeshConfigMaps: []string{defaultMesh}, ClusterDomain: "cluster.local"}
	if len(mesh.Istiods) == 0 {
		if len(clusters) == 0 {
			return p, errors.New("no Deployment has the label app=istiod: name the clusters whose workloads read the Istio config of this one")
		}
		return p, nil
	}
	var namespaces, ids, domains, names []string
	for _, i := range mesh.Istiods {
		namespaces, ids = append(namespaces, i.Namespace), append(ids, i.ClusterID)
		domains, names = append(domains, i.Domain), append(names, i.MeshConfigMap())
	}
	var errs []error
	one := func(what string, values []string) string {
		slices.Sort(values)
		if values = slices.Compact(values); len(values) > 1 {
			errs = append(errs, fmt.Errorf("istiods have several %s: %s", what, strings.Join(values, ", ")))
		}
		return values[0]
	}
	p.IstioNamespace, p.ClusterDomain = one("namespaces", namespaces), one("cluster domains", domains)
	if len(clusters) == 0 {
		p.Clusters = []string{one("values of CLUSTER_ID", ids)}
	}
	slices.Sort(names)
	p.MeshConfigMaps, p.Network = slices.Compact(names), mesh.Networks[p.IstioNamespace]
	return p, errors.Join(errs...)
}

// FenceConfig returns the ConfigMap of a FenceConfig: the commented example of the manifests, filled in.
func FenceConfig(p ControlPlane, enforcement policy.Enforcement, namespace string) (*corev1.ConfigMap, error) {
	data, err := fs.ReadFile(manifests.Files(), "example/fenceconfig.yaml")
	if err != nil {
		return nil, err
	}
	config := &corev1.ConfigMap{}
	if err := yaml.UnmarshalStrict(data, config); err != nil {
		return nil, err
	}
	holds := []string{policy.MeshConfig.String()}
	if len(p.Clusters) == 1 { // with more of them it holds nothing (B17)
		holds = append(holds, policy.Subset.String())
	}
	text := config.Data[policy.ConfigMapKey]
	for _, field := range []struct{ name, value string }{
		{"clusters", list(p.Clusters)},
		{"istioNamespace", strconv.Quote(p.IstioNamespace)},
		{"meshConfigMaps", list(p.MeshConfigMaps)},
		{"clusterDomain", strconv.Quote(p.ClusterDomain)},
		{"network", strconv.Quote(p.Network)},
		{"holds", list(holds)},
		{"enforcement", string(enforcement)},
	} {
		if text, err = replaced(text, field.name, field.value); err != nil {
			return nil, fmt.Errorf("manifests/example/fenceconfig.yaml: %w", err)
		}
	}
	config.Namespace = cmp.Or(namespace, policy.InstallNamespace)
	config.Data[policy.ConfigMapKey] = text
	_, err = policy.ParseConfigMap(policy.ConfigMapSource(config.Namespace, nil), config.Data)
	return config, err
}

// list writes strings as YAML, on one line.
func list(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = strconv.Quote(v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// replaced returns a text with another value in the one line that begins with a field.
func replaced(text, field, value string) (string, error) {
	line := regexp.MustCompile(`(?m)^( *` + field + `: +)([^ #\n].*?)( +#.*)?$`)
	if found := line.FindAllString(text, -1); len(found) != 1 {
		return "", fmt.Errorf("%d lines begin with %s, want 1", len(found), field)
	}
	return line.ReplaceAllStringFunc(text, func(old string) string {
		parts := line.FindStringSubmatch(old)
		return parts[1] + value + parts[3]
	}), nil
}

// WithEnforcement returns the text of a FenceConfig with another enforcement. All else stays as it is.
func WithEnforcement(text string, enforcement policy.Enforcement, source policy.Source) (string, error) {
	before, err := policy.ParseConfig(source, []byte(text))
	if err != nil || before.Enforcement == enforcement {
		return text, err
	}
	changed, err := replaced(text, "enforcement", string(enforcement))
	if err != nil {
		changed = strings.TrimSuffix(text, "\n") + "\nenforcement: " + string(enforcement) + "\n"
	}
	if after, err := policy.ParseConfig(source, []byte(changed)); err != nil || after.Enforcement != enforcement {
		return "", fmt.Errorf("%s: its form is not one that can be edited: put in enforcement: %s by hand", source.File, enforcement)
	}
	return changed, nil
}
