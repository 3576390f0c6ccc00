package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/splice"
)

// The annotations by which kustomize says where an item of a ResourceList is.
const (
	pathAnnotation  = "internal.config.kubernetes.io/path"
	indexAnnotation = "internal.config.kubernetes.io/index"
)

func newKRM() *cobra.Command {
	flags := sceneFlags{paths: []string{stdin}}
	command := &cobra.Command{
		Use:   "krm",
		Short: "Work as a KRM function: kustomize runs it on what it builds",
		Long: `Read a ResourceList, and write it with its items as admission would store them and with the findings as results.

The functionConfig is a FenceConfig, or a ConfigMap with the key ` + policy.ConfigMapKey + `. Kustomize runs it as a
transformer with the annotation config.kubernetes.io/function: {exec: {path: meshfence, args: [krm]}}.
Exit code 0: nothing is denied; 1: something is; 2: bad usage, bad config or unreadable input.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return runKRM(&flags, command.InOrStdin(), command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	command.Flags().StringVar(&flags.config, "config", "", "FenceConfig file, where functionConfig is none")
	command.Flags().StringVarP(&flags.namespace, "namespace", "n", "default", "namespace of the objects that name none")
	return command
}

// resourceList is what is read of one.
// Source: https://github.com/kubernetes-sigs/kustomize/blob/master/cmd/config/docs/api-conventions/functions-spec.md
type resourceList struct {
	metav1.TypeMeta `json:",inline"`
	FunctionConfig  json.RawMessage `json:"functionConfig"`
}

// krmResult is a finding as a ResourceList holds it.
type krmResult struct {
	Message     string `json:"message"`
	Severity    string `json:"severity"`
	ResourceRef krmRef `json:"resourceRef"`
	Field       struct {
		Path string `json:"path"`
	} `json:"field"`
	File *krmFile          `json:"file,omitempty"`
	Tags map[string]string `json:"tags"`
}

type krmRef struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Namespace  string `json:"namespace,omitempty"`
}

type krmFile struct {
	Path  string `json:"path"`
	Index int    `json:"index"`
}

func runKRM(flags *sceneFlags, in io.Reader, out, errOut io.Writer) error {
	data, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	var list resourceList
	if err := sigsyaml.Unmarshal(data, &list); err != nil {
		return fmt.Errorf("read the ResourceList: %w", err)
	}
	if list.Kind != "ResourceList" {
		return fmt.Errorf("kind %q must be ResourceList", list.Kind)
	}
	if err := flags.useFunctionConfig(list.FunctionConfig); err != nil {
		return err
	}
	judged, err := flags.judge(bytes.NewReader(data))
	if err != nil {
		return err
	}
	edited, err := judged.edit()
	if err != nil {
		return err
	}
	findings := judged.findings()
	whole, err := withResults(edited[0].after, judged.krmResults())
	if err != nil {
		return err
	}
	if _, err := out.Write(whole); err != nil {
		return err
	}
	// Of a function that fails kustomize shows what it said, and not its results.
	if err := writeText(errOut, findings); err != nil {
		return err
	}
	return judged.outcome(findings)
}

// useFunctionConfig takes the FenceConfig from the functionConfig, where that is one or holds one.
func (f *sceneFlags) useFunctionConfig(raw json.RawMessage) error {
	var members map[string]json.RawMessage
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var configMap corev1.ConfigMap
	err := unmarshal(raw, &members)
	if err == nil {
		err = unmarshal(raw, &configMap)
	}
	if err != nil {
		return fmt.Errorf("functionConfig: %w", err)
	}
	f.inlineSource = "functionConfig"
	if configMap.Kind == object.KindConfigMap {
		if text, ok := configMap.Data[policy.ConfigMapKey]; ok {
			f.inline = []byte(text)
		}
		return nil
	}
	delete(members, "metadata") // what kustomize needs, and a FenceConfig has not
	f.inline, err = json.Marshal(members)
	return err
}

// krmResults returns the findings as results.
func (j judged) krmResults() []krmResult {
	results := []krmResult{}
	for _, r := range j.results {
		for _, f := range j.findingsOf(r) {
			result := krmResult{Message: f.Message(), Severity: "error", Tags: map[string]string{"rule": f.Rule}}
			if !f.denies() {
				result.Severity = "warning"
			}
			result.Field.Path = f.Field()
			result.ResourceRef = krmRef{r.APIVersion, r.Kind, f.Object.Name, r.Namespace}
			if path := r.Annotations[pathAnnotation]; path != "" {
				index, _ := strconv.Atoi(r.Annotations[indexAnnotation]) // 0 where it is absent
				result.File = &krmFile{path, index}
			}
			results = append(results, result)
		}
	}
	return results
}

// withResults returns the text of a ResourceList with results in it.
func withResults(text []byte, results []krmResult) ([]byte, error) {
	asJSON, err := sigsyaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(asJSON, &members); err != nil {
		return nil, err
	}
	if members["results"], err = json.Marshal(results); err != nil {
		return nil, err
	}
	if len(results) == 0 {
		delete(members, "results")
	}
	want, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	return splice.Document(text, want)
}
