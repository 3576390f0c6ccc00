package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

// scene is what render and check judge: the objects, and the scope that they and the config give.
type scene struct {
	input
	index *policy.Index
	pods  policy.Pods
	rules []leak.Rule
}

// sceneFlags are the flags that render and check share.
type sceneFlags struct {
	paths     []string
	config    string
	namespace string
	strict    bool
	// brief leaves out what only render needs: the content of what neither admission nor the index reads.
	brief bool
	// inline is a FenceConfig that counts before all others, and inlineSource says where it is.
	inline       []byte
	inlineSource string
}

func (f *sceneFlags) addTo(command *cobra.Command) {
	flags := command.Flags()
	flags.StringSliceVarP(&f.paths, "filename", "f", nil, "files, folders or - for stdin")
	flags.StringVar(&f.config, "config", "", "FenceConfig file; without it the ConfigMap "+policy.ConfigMapName+" among the manifests counts")
	flags.StringVarP(&f.namespace, "namespace", "n", "default", "namespace of the objects that name none")
	flags.BoolVar(&f.strict, "strict", false, "fail on what is no manifest in a folder, instead of skipping it")
}

// load reads the manifests and the config, and works out the scope.
func (f *sceneFlags) load(in io.Reader) (*scene, error) {
	if problems := validation.IsDNS1123Label(f.namespace); len(problems) > 0 {
		return nil, fmt.Errorf("--namespace %q must be the name of a namespace", f.namespace)
	}
	read, err := readManifests(f.paths, in, maxInput)
	if err != nil {
		return nil, err
	}
	if f.strict && len(read.skipped) > 0 {
		return nil, read.skipped[0]
	}
	manifests := read.manifests
	for i := range manifests {
		if f.brief {
			manifests[i].shorten()
		}
		if manifests[i].Namespace == "" && !object.ClusterScoped(manifests[i].Kind) {
			manifests[i].Namespace = f.namespace
		}
	}
	rules := leak.Rules()
	config, err := f.parseConfig(manifests, rules)
	if err != nil {
		return nil, err
	}
	index, err := indexOf(manifests, config)
	if err != nil {
		return nil, err
	}
	var pods policy.Pods
	for _, m := range manifests {
		if m.groupKind() == (schema.GroupKind{Kind: object.KindPod}) {
			pods = append(pods, policy.Pod{Namespace: m.Namespace, Labels: m.Labels, Address: object.PodAddress(m.json)})
		}
	}
	return &scene{input: read, index: index, pods: pods, rules: rules}, nil
}

// shorten drops what only render needs.
func (m *manifest) shorten() {
	m.document.json = nil
	gk := m.groupKind()
	if _, ok := admit.KindFor(gk.Group, gk.Kind); !ok {
		m.json = nil
	}
}

// indexOf returns an index that knows the manifests as a cluster would that has them all.
func indexOf(manifests []manifest, config *policy.Config) (*policy.Index, error) {
	var nodes []map[string]string
	for _, m := range manifests {
		if m.groupKind() == (schema.GroupKind{Kind: "Node"}) {
			nodes = append(nodes, m.Labels)
		}
	}
	// Without any Node a config that needs them stays without localities, so that hold locality holds nothing.
	if len(nodes) > 0 {
		var err error
		if config, err = withNodes(config, nodes); err != nil {
			return nil, err
		}
	}
	index := policy.NewIndex(config)
	for _, m := range manifests {
		if err := m.relate(index); err != nil {
			return nil, err
		}
	}
	if err := assumeMeshConfig(manifests, index); err != nil {
		return nil, err
	}
	return index, nil
}

// assumeMeshConfig completes the config of an index, which must hold the scope, with what the mesh ConfigMaps among
// the manifests will say once admission has seen them. Of those that are not among them the best is assumed.
func assumeMeshConfig(manifests []manifest, index *policy.Index) error {
	config, view := index.Config(), index.View()
	var faults []*policy.HoldFault
	readings := []*policy.IngressReading{new(policy.DefaultIngressReading())}
	for _, m := range manifests {
		if m.groupKind() != (schema.GroupKind{Kind: object.KindConfigMap}) || !admit.IsMeshConfigMap(m.Namespace, m.Name, config) {
			continue
		}
		var configMap corev1.ConfigMap
		if err := unmarshal(m.json, &configMap); err != nil {
			return fmt.Errorf("%s: %w", m.place, err)
		}
		read := meshconfig.ReadConfigMap(m.Namespace+"/"+m.Name, config.ClusterDomain, configMap.Data, configMap.Annotations)
		if fault, _ := read.Fault(view); fault != nil && !fault.Behind {
			faults = append(faults, fault)
		}
		readings = append(readings, read.Ingress())
	}
	index.SetConfig(config.WithMeshConfigFault(meshconfig.JoinFaults(faults)).WithIngressReading(meshconfig.JoinIngress(readings)))
	return nil
}

// relate tells an index of what gives the scope, and of what rules relate to other objects.
func (m manifest) relate(index *policy.Index) error {
	gk := m.groupKind()
	kind, ok := admit.KindFor(gk.Group, gk.Kind)
	if !ok || !kind.Stored && kind.Kind != object.KindService && kind.Kind != object.KindNamespace {
		return nil
	}
	o, err := object.Decode(kind.Kind, m.json)
	if err != nil {
		return fmt.Errorf("%s: %w", m.place, err)
	}
	o.Metadata.Namespace = m.Namespace
	index.SetObject(o)
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
	if f.inline != nil {
		source.File = f.inlineSource
		return policy.ParseConfig(source, f.inline)
	}
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
		if err := unmarshal(m.json, &configMap); err != nil {
			return nil, fmt.Errorf("%s: %w", m.place, err)
		}
		data, ok := configMap.Data[policy.ConfigMapKey]
		if !ok {
			continue
		}
		source.File = m.place.String() + ": data[" + policy.ConfigMapKey + "]"
		source.InstallNamespace = m.Namespace
		return policy.ParseConfig(source, []byte(data))
	}
	return nil, fmt.Errorf("no FenceConfig: give --config FILE, or a ConfigMap %q with the key %s among the manifests",
		policy.ConfigMapName, policy.ConfigMapKey)
}

// result is one manifest, and what admission makes of it.
type result struct {
	*manifest

	stored  []byte // as admission would store it
	verdict leak.Verdict
}

// judged is a scene and what admission makes of its manifests.
type judged struct {
	*scene
	results []result
	now     time.Time
	lines   *lines
}

// judge treats every manifest as admission would treat its creation.
func (f *sceneFlags) judge(in io.Reader) (judged, error) {
	scene, err := f.load(in)
	if err != nil {
		return judged{}, err
	}
	guard, now := leak.NewGuard(scene.rules), time.Now()
	j := judged{scene, make([]result, len(scene.manifests)), now, &lines{}}
	for i := range scene.manifests {
		m := &scene.manifests[i]
		if j.results[i], err = scene.judge(m, guard, now); err != nil {
			return judged{}, fmt.Errorf("%s: %w", m.place, err)
		}
	}
	return j, nil
}

// findings returns those of all manifests, in their order.
func (j judged) findings() []located {
	var all []located
	for _, r := range j.results {
		all = append(all, j.findingsOf(r)...)
	}
	return all
}

// findingsOf returns what admission would refuse, warn of or record in a manifest, and what an exemption accepts that ends
// soon.
func (j judged) findingsOf(r result) []located {
	var list []located
	for _, group := range r.verdict.ByOutcome() {
		if group.Outcome == leak.OutcomeExempted {
			group.Findings = r.verdict.Ending(j.index.Config().Exemptions, j.now)
		}
		for _, f := range group.Findings {
			at := r.place
			at.Line = j.lines.of(r.manifest, f.Path)
			f.Object.Name = cmp.Or(r.Name, r.GenerateName)
			list = append(list, located{f, group.Outcome, at})
		}
	}
	return list
}

// summarize says what was read and what came of it, so that an empty scope or a file that was passed over is seen.
func (j judged) summarize(out io.Writer, findings []located) {
	for _, s := range j.skipped {
		fmt.Fprintf(out, "meshfence: skipped %s\n", s.Error())
	}
	taken := 0
	for _, m := range j.manifests {
		if gk := m.groupKind(); isTaken(gk) {
			taken++
		}
	}
	verbs := map[string]int{}
	for _, f := range findings {
		verbs[f.verb()]++
	}
	counts := j.index.Count()
	fmt.Fprintf(out, "meshfence: read %d objects, judged %d; Services that are strict: %d, prefer: %d; denials: %d, warnings: %d, recorded for the audit: %d; files skipped: %d\n",
		len(j.manifests), taken, counts[policy.Strict.String()], counts[policy.Prefer.String()], verbs["deny"], verbs["warn"], verbs["audit"], len(j.skipped))
}

func isTaken(gk schema.GroupKind) bool {
	kind, ok := admit.KindFor(gk.Group, gk.Kind)
	return ok && (kind.Mutate || kind.Validate)
}

func (s *scene) judge(m *manifest, guard *leak.Guard, now time.Time) (result, error) {
	gk := m.groupKind()
	kind, ok := admit.KindFor(gk.Group, gk.Kind)
	if !ok || kind.Kind == object.KindConfigMap && m.Name == policy.ConfigMapName { // the FenceConfig has been read already
		return result{manifest: m, stored: m.json}, nil
	}
	admitted, err := admit.Admit(admit.Request{Kind: kind.Kind, Namespace: m.Namespace, Raw: m.json}, guard, s.index, s.pods, now)
	return result{m, admitted.Stored, admitted.Verdict}, err
}
