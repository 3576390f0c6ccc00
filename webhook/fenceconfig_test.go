package webhook_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
)

// configMap returns the ConfigMap of that name with a key config.yaml; empty text leaves the key out.
func configMap(namespace, name, text string) string {
	object := "apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: " + namespace + ", name: " + name + "}\n"
	if text == "" {
		return object
	}
	return object + "data:\n  config.yaml: |\n    " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n    ") + "\n"
}

func TestValidateFenceConfig(t *testing.T) {
	t.Parallel()
	const wrong = `
apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [everything]
scope:
  default: tight
`
	cause := func(message string) metav1.StatusCause {
		return metav1.StatusCause{Type: "FieldValueInvalid", Field: "data[config.yaml]", Message: "Invalid value: " + message}
	}
	tests := map[string]struct {
		object, old string
		causes      []metav1.StatusCause
	}{
		"good":                          {object: configMap(install, "meshfence", fenced)},
		"of another name":               {object: configMap(install, "other", wrong)},
		"wrong before":                  {object: configMap(install, "meshfence", wrong) + "immutable: true\n", old: configMap(install, "meshfence", wrong)},
		"right after having been wrong": {object: configMap(install, "meshfence", fenced), old: configMap(install, "meshfence", wrong)},
		"wrong after an unreadable one": {object: configMap(install, "meshfence", ""), old: "data: 1", causes: []metav1.StatusCause{cause("must have the key config.yaml")}},
		"without the key":               {object: configMap(install, "meshfence", ""), causes: []metav1.StatusCause{cause("must have the key config.yaml")}},
		"the key is removed":            {object: configMap(install, "meshfence", ""), old: configMap(install, "meshfence", fenced), causes: []metav1.StatusCause{cause("must have the key config.yaml")}},
		"every problem, with its line": {object: configMap(install, "meshfence", wrong), causes: []metav1.StatusCause{
			cause(`line 4: holds[0]: "everything" must be one of meshConfig, locality, subset`),
			cause(`line 6: scope.default: "tight" must be one of none, prefer, strict`),
		}},
		"unknown field": {object: configMap(install, "meshfence", fenced+"enforcment: warn\n"), causes: []metav1.StatusCause{
			cause("line 6: enforcment: unknown field"),
		}},
		"unknown rule in an exemption": {
			object: configMap(install, "meshfence", fenced+"exemptions: [{rule: x, namespace: a, name: b, until: 2026-12-31, reason: c}]\n"),
			causes: []metav1.StatusCause{cause(`line 6: exemptions[0].rule: "x" must be the id of a rule`)},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fenced)
			c.synced = false // a config can be fixed at any time
			response := c.ask(t, admit.ValidatePath, request(t, test.object, test.old))
			if response.Allowed != (test.causes == nil) {
				t.Errorf("allowed = %t", response.Allowed)
			}
			assertCauses(t, response.Result, test.causes)
		})
	}
}

// TestFenceConfigOfAnotherCluster: one that names no cluster by which istiod knows this one passes with a warning; what
// cannot be read says nothing.
func TestFenceConfigOfAnotherCluster(t *testing.T) {
	t.Parallel()
	istiod := func(id string) []corev1.Pod {
		return []corev1.Pod{{Spec: corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{Name: "CLUSTER_ID", Value: id}}}}}}}
	}
	for name, test := range map[string]struct {
		istiods []corev1.Pod
		err     error
		warns   string
	}{
		"the same":           {istiods: istiod("m1c1")},
		"another":            {istiods: istiod("m1c2"), warns: `controlPlane.clusters must list "m1c2"`},
		"without CLUSTER_ID": {istiods: istiod(""), warns: `controlPlane.clusters must list "Kubernetes"`},
		"no istiod":          {},
		"cannot be read":     {istiods: istiod("m1c2"), err: errors.New("away")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fenced)
			c.reader.istiods, c.reader.err = test.istiods, test.err
			response := c.ask(t, admit.ValidatePath, request(t, configMap(install, "meshfence", fenced), ""))
			if !response.Allowed || (test.warns == "") != (len(response.Warnings) == 0) || !strings.HasPrefix(strings.Join(response.Warnings, ""), test.warns) {
				t.Errorf("allowed %t, warnings %q, want %q", response.Allowed, response.Warnings, test.warns)
			}
		})
	}
}

// TestCostOfFenceConfig: ten times the entries take some ten times as long, good or bad. An API server waits five seconds, and
// what it has no answer for by then passes.
func TestCostOfFenceConfig(t *testing.T) {
	for name, lines := range map[string][2]string{
		"Services":         {"scope:\n  services:\n", "  - {namespace: shop, name: s%d, fence: strict}\n"},
		"Namespaces":       {"scope:\n  namespaces:\n", "  - {name: s%d, fence: strict}\n"},
		"exemptions":       {"exemptions:\n", "  - {rule: serviceentry-fenced-host, namespace: shop, name: s%d, until: 2026-12-31, reason: a}\n"},
		"unknown fences":   {"scope:\n  services:\n", "  - {namespace: shop, name: s%d, fence: tight}\n"},
		"wrong types":      {"scope:\n  services:\n", "  - {namespace: shop, name: s%d, fence: {}}\n"},
		"the same Service": {"scope:\n  services:\n", "  - {namespace: shop, name: s, fence: strict} # %d\n"},
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, fenced)
			took := func(n int) time.Duration {
				text := strings.Builder{}
				text.WriteString("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\ncontrolPlane: {clusters: [m1c1]}\nholds: [meshConfig]\n" + lines[0])
				for i := range n {
					fmt.Fprintf(&text, lines[1], i)
				}
				r, start := request(t, configMap(install, "meshfence", text.String()), ""), time.Now()
				c.ask(t, admit.ValidatePath, r)
				return time.Since(start)
			}
			var few, many time.Duration
			for range 3 { // others may run
				if few, many = took(1300), took(13000); many < time.Second || many < 30*few {
					return
				}
			}
			t.Errorf("1,300 entries take %s, 13,000 take %s", few, many)
		})
	}
}

// TestValidateOtherConfigMaps: a mesh ConfigMap is for the guard, which needs the index, and any other ConfigMap for
// nobody.
func TestValidateOtherConfigMaps(t *testing.T) {
	t.Parallel()
	for name, object := range map[string]string{
		"a mesh config": "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: istio-system, name: istio}, data: {mesh: '{}'}}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fenced)
			if response := c.ask(t, admit.ValidatePath, request(t, object, "")); !response.Allowed {
				t.Errorf("refused: %+v", response.Result)
			}
			c.synced = false
			response := c.ask(t, admit.ValidatePath, request(t, object, ""))
			if response.Allowed || !strings.Contains(response.Result.Message, "not ready") {
				t.Errorf("allowed = %t without an index: %+v", response.Allowed, response.Result)
			}
			wrong := request(t, object, "")
			wrong.Object.Raw = []byte(`{"metadata": {"name": "it"}, "data": {"mesh": 1}}`)
			c.synced = true
			assertRefused(t, c.ask(t, admit.ValidatePath, wrong), http.StatusBadRequest, metav1.StatusReasonBadRequest,
				"decode ConfigMap: data.mesh: must be a string, not a number")
		})
	}
}

func TestValidateConfigMapOfNobody(t *testing.T) {
	t.Parallel()
	c := serve(t, fenced)
	c.synced = false
	response := c.ask(t, admit.ValidatePath, request(t, configMap("default", "meshfence", "kind: unknown"), ""))
	if !response.Allowed {
		t.Errorf("refused: %+v", response.Result)
	}
}

func TestValidateConfigMapOfWrongType(t *testing.T) {
	t.Parallel()
	r := request(t, configMap(install, "meshfence", fenced), "")
	r.Object.Raw = []byte(`{"data":{"config.yaml":1}}`)
	response := serve(t, fenced).ask(t, admit.ValidatePath, r)
	if response.Allowed || response.Result.Code != http.StatusBadRequest {
		t.Errorf("allowed = %t, result = %+v", response.Allowed, response.Result)
	}
}

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	source := policy.ConfigMapSource(install, leak.IDs(leak.Rules()))
	object := func(data map[string]string) client.Reader {
		return fake.NewClientBuilder().WithObjects(&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: install, Name: policy.ConfigMapName}, Data: data,
		}).Build()
	}
	config, err := cluster.LoadConfig(t.Context(), object(map[string]string{"config.yaml": fenced}), source)
	if err != nil || !config.Holds.Only(policy.Subset) {
		t.Errorf("LoadConfig = %+v, %v", config, err)
	}
	for name, test := range map[string]struct {
		reader     client.Reader
		configured bool
		want       string
	}{
		"missing": {fake.NewClientBuilder().Build(), false, `get FenceConfig: configmaps "meshfence" not found`},
		"no key":  {object(nil), true, "ConfigMap meshfence-system/meshfence: must have the key config.yaml"},
		"invalid": {object(map[string]string{"config.yaml": "kind: x: y"}), true,
			"ConfigMap meshfence-system/meshfence: mapping values are not allowed in this context"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := cluster.LoadConfig(t.Context(), test.reader, source)
			if err == nil || !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("error = %v, want %s", err, test.want)
			}
			if _, ok := errors.AsType[*policy.ConfigError](err); ok != test.configured {
				t.Errorf("ConfigError = %t, want %t", ok, test.configured)
			}
		})
	}
}
