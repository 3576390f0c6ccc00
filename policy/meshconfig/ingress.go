package meshconfig

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/meshfence/meshfence/policy"
)

// ingressDefault is ingressControllerMode DEFAULT, by its name and its number in Istio's mesh config.
func ingressDefault() []string { return []string{"DEFAULT", "2"} }

// ingressReading returns which Ingresses istiod reads by a mesh config.
func ingressReading(text string) (policy.IngressReading, error) {
	reading := policy.DefaultIngressReading()
	mesh, err := parseMesh(text)
	if err != nil || mesh.root == nil {
		return reading, err
	}
	class, err := mesh.scalar("ingressClass", "ingress_class")
	if err != nil {
		return reading, err
	}
	if class != "" {
		reading.Classes = []string{class}
	}
	mode, err := mesh.scalar("ingressControllerMode", "ingress_controller_mode")
	reading.Classless = slices.Contains(ingressDefault(), mode)
	return reading, err
}

// scalar returns the text of a field of the mesh config; empty where it has none.
func (m *meshText) scalar(names ...string) (string, error) {
	_, value, err := field(m.root, names...)
	if err != nil || value == nil {
		return "", err
	}
	node := resolve(value)
	if node.Kind != yaml.ScalarNode || isNull(node) {
		return "", nil
	}
	return node.Value, nil
}

// Ingress returns which Ingresses istiod reads by the ConfigMap; nil where that is not known. Without the ConfigMap it
// has its defaults.
func (m ConfigMap) Ingress() *policy.IngressReading { return m.ingress }
