package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/webhook"
)

// scene is what render and check judge: the objects, and the scope that they and the config give.
type scene struct {
	manifests []manifest
	index     *policy.Index
	rules     []leak.Rule
}

// sceneFlags are the flags that render and check share.
type sceneFlags struct {
	paths     []string
	config    string
	namespace string
}

func (f *sceneFlags) addTo(command *cobra.Command) {
	flags := command.Flags()
	flags.StringSliceVarP(&f.paths, "filename", "f", nil, "files, folders or - for stdin")
	flags.StringVar(&f.config, "config", "", "FenceConfig file; without it the ConfigMap "+policy.ConfigMapName+" among the manifests counts")
	flags.StringVarP(&f.namespace, "namespace", "n", "default", "namespace of the objects that name none")
}

// load reads the manifests and the config, and works out the scope.
func (f *sceneFlags) load(in io.Reader) (*scene, error) {
	manifests, err := readManifests(f.paths, in)
	if err != nil {
		return nil, err
	}
	for i := range manifests {
		if manifests[i].Namespace == "" && manifests[i].Kind != policy.KindNamespace {
			manifests[i].Namespace = f.namespace
		}
	}
	rules := leak.Rules()
	config, err := f.parseConfig(manifests, rules)
	if err != nil {
		return nil, err
	}
	var nodes []map[string]string
	for _, m := range manifests {
		if m.groupKind() == (schema.GroupKind{Kind: "Node"}) {
			nodes = append(nodes, m.Labels)
		}
	}
	// Without any Node a config that needs them stays without localities, so that hold locality holds nothing.
	if len(nodes) > 0 {
		if config, err = withNodes(config, nodes); err != nil {
			return nil, err
		}
	}
	index := policy.NewIndex(config)
	for _, m := range manifests {
		switch m.groupKind() {
		case schema.GroupKind{Kind: policy.KindNamespace}:
			index.SetNamespace(m.Name, m.Labels)
		case schema.GroupKind{Kind: policy.KindService}:
			index.SetService(policy.Host{Namespace: m.Namespace, Name: m.Name}, m.Annotations)
		}
		if err := m.relate(index); err != nil {
			return nil, err
		}
	}
	if err := weighMeshConfig(manifests, index); err != nil {
		return nil, err
	}
	return &scene{manifests: manifests, index: index, rules: rules}, nil
}

// weighMeshConfig completes the config of an index, which must hold the scope, with what the mesh ConfigMaps among
// the manifests will say once admission has seen them. Of those that are not among them the best is assumed.
func weighMeshConfig(manifests []manifest, index *policy.Index) error {
	config, view := index.Config(), index.View()
	var faults []*policy.HoldFault
	for _, m := range manifests {
		if m.groupKind() != (schema.GroupKind{Kind: policy.KindConfigMap}) || !webhook.IsMeshConfigMap(m.Namespace, m.Name, config) {
			continue
		}
		var configMap corev1.ConfigMap
		if err := json.Unmarshal(m.json, &configMap); err != nil {
			return fmt.Errorf("%s: %w", m.source, err)
		}
		read := inject.ReadMeshMap(m.Namespace+"/"+m.Name, config.ClusterDomain, configMap.Data, configMap.Annotations)
		if fault, _ := read.Fault(view); fault != nil && !fault.Behind {
			faults = append(faults, fault)
		}
	}
	index.SetConfig(config.WithMeshConfigFault(inject.JoinFaults(faults)))
	return nil
}

// relate tells an index what rules relate to other objects.
func (m manifest) relate(index *policy.Index) error {
	gk := m.groupKind()
	route, ok := webhook.RouteFor(gk.Group, gk.Kind)
	if !ok || !route.Stored && route.Kind != policy.KindService {
		return nil
	}
	object, err := policy.Decode(route.Kind, m.json)
	if err != nil {
		return fmt.Errorf("%s: %w", m.source, err)
	}
	if object.Service != nil {
		index.SetServiceSpec(policy.Host{Namespace: m.Namespace, Name: m.Name}, *object.Service)
		return nil
	}
	object.Metadata.Namespace = m.Namespace
	index.SetObject(object)
	return nil
}

// withNodes returns the config with the localities of Nodes, given by their labels, where it needs them.
func withNodes(config *policy.Config, labels []map[string]string) (*policy.Config, error) {
	if !config.NeedsNodes() {
		return config, nil
	}
	nodes := policy.NodeLocalities{}
	for _, l := range labels {
		nodes[policy.NodeLocalityOf(l)]++
	}
	shares, err := config.NodeShares(nodes)
	if err != nil {
		return nil, err
	}
	return config.WithShares(shares), nil
}

// parseConfig takes the FenceConfig from the file given, or else from the ConfigMap among the manifests.
func (f *sceneFlags) parseConfig(manifests []manifest, rules []leak.Rule) (*policy.Config, error) {
	source := policy.Source{File: f.config, Rules: leak.IDs(rules)}
	if f.config != "" {
		data, err := os.ReadFile(f.config)
		if err != nil {
			return nil, err
		}
		return policy.ParseConfig(source, data)
	}
	for _, m := range manifests {
		if m.groupKind() != (schema.GroupKind{Kind: "ConfigMap"}) || m.Name != policy.ConfigMapName {
			continue
		}
		var configMap corev1.ConfigMap
		if err := json.Unmarshal(m.json, &configMap); err != nil {
			return nil, fmt.Errorf("%s: %w", m.source, err)
		}
		data, ok := configMap.Data[policy.ConfigMapKey]
		if !ok {
			continue
		}
		source.File = m.source + ": data[" + policy.ConfigMapKey + "]"
		source.InstallNamespace = m.Namespace
		return policy.ParseConfig(source, []byte(data))
	}
	return nil, fmt.Errorf("no FenceConfig: give --config FILE, or a ConfigMap %q with the key %s among the manifests",
		policy.ConfigMapName, policy.ConfigMapKey)
}

// result is one manifest as admission would store it, and what admission finds in it.
type result struct {
	manifest
	stored   []byte
	findings []leak.Finding
}

// judge treats every manifest as admission would treat its creation. Findings come out with the severity that
// enforcement gives them.
func (f *sceneFlags) judge(in io.Reader) ([]result, error) {
	scene, err := f.load(in)
	if err != nil {
		return nil, err
	}
	guard, now := leak.NewGuard(scene.rules), time.Now()
	results := make([]result, len(scene.manifests))
	for i, m := range scene.manifests {
		if results[i], err = scene.judge(m, guard, now); err != nil {
			return nil, fmt.Errorf("%s: %w", m.source, err)
		}
	}
	return results, nil
}

func (s *scene) judge(m manifest, guard *leak.Guard, now time.Time) (result, error) {
	r := result{manifest: m, stored: m.json}
	gk := m.groupKind()
	route, ok := webhook.RouteFor(gk.Group, gk.Kind)
	if !ok {
		return r, nil
	}
	subject := webhook.Subject{Kind: route.Kind, Namespace: m.Namespace, Raw: m.json}
	if route.Mutate {
		edits, err := webhook.Mutate(subject, s.index.View())
		if err != nil {
			return r, err
		}
		if r.stored, err = webhook.Apply(m.json, edits); err != nil {
			return r, err
		}
		subject.Raw = r.stored
	}
	if !route.Validate || route.Kind == policy.KindConfigMap && !webhook.IsMeshConfigMap(m.Namespace, m.Name, s.index.Config()) {
		return r, nil // the FenceConfig has been read already
	}
	verdict, err := webhook.Validate(subject, guard, s.index.View(), now)
	if err != nil {
		return r, err
	}
	r.findings = verdict.Denied
	for _, finding := range slices.Concat(verdict.Warned, verdict.Audited) {
		finding.Severity = leak.Warn
		r.findings = append(r.findings, finding)
	}
	return r, nil
}
