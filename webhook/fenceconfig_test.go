package webhook_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

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
