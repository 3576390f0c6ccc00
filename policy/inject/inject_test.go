package inject_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
	"github.com/meshfence/meshfence/test/fixtures"
)

// TestObject plans the edits for every case in testdata, and compares them, the gaps and the result with what the case
// says.
func TestObject(t *testing.T) {
	t.Parallel()
	if *update {
		rewrite(t)
	}
	for name, c := range load(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index, err := c.Index()
			if err != nil {
				t.Fatal(err)
			}
			plan := planFor(t, c.Object.Kind, c.Object.JSON, index)
			result := apply(t, c.Object.JSON, plan)
			if diff := cmp.Diff(c.plan, describe(t, plan)); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(string(c.stored), asYAML(t, result)); diff != "" {
				t.Errorf("stored (-want +got):\n%s", diff)
			}
			again(t, c.Object.Kind, plan, result, index)
			understood(t, c.Object.Kind, result)
			if untouched(c.Case) {
				free := unfenced(t, c.Case)
				same(t, "without the fence", c.Object.JSON, apply(t, result, planFor(t, c.Object.Kind, result, free)))
			}
		})
	}
}

// again demands that a second admission changes nothing, and that what is still missing then is what the
// first did not promise to fix.
func again(t *testing.T, kind string, first inject.Plan, result []byte, index *policy.Index) {
	t.Helper()
	second := planFor(t, kind, result, index)
	if len(second.Edits) > 0 {
		t.Errorf("second admission must change nothing, got:\n%s", describe(t, second))
	}
	for _, gap := range second.Gaps {
		for _, edit := range first.Edits {
			if strings.Join(gap.Path, "/") == strings.TrimSuffix(strings.Join(edit.Path, "/"), "/-") {
				t.Errorf("%q must be fixed, since there was an edit for it", gap.Path)
			}
		}
	}
}

// understood demands that Istio's types take the result, down to the last field but those that the cases
// have from the future.
func understood(t *testing.T, kind string, obj []byte) {
	t.Helper()
	var spec proto.Message
	switch kind {
	case object.KindDestinationRule:
		spec = &networking.DestinationRule{}
	case object.KindVirtualService:
		spec = &networking.VirtualService{}
	default:
		return
	}
	root := decodeAny(t, obj)
	data, err := json.Marshal(without(root["spec"], "futureField"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte("[null")) {
		return // protobuf has no null items
	}
	if err := protojson.Unmarshal(data, spec); err != nil {
		t.Errorf("Istio's type must take the result: %v", err)
	}
}

// without returns the value without the fields of that name, at any depth.
func without(value any, field string) any {
	switch value := value.(type) {
	case map[string]any:
		delete(value, field)
		for k, v := range value {
			value[k] = without(v, field)
		}
	case []any:
		for i, v := range value {
			value[i] = without(v, field)
		}
	}
	return value
}

// untouched reports whether no admission has changed the object of a case, and that an API server would store it:
// it has no null items.
func untouched(c suite.Case) bool {
	return !bytes.Contains(c.Object.JSON, []byte("meshfence")) && !bytes.Contains(c.Object.JSON, []byte("[null"))
}

// unfenced returns the index of a case in which nothing is fenced.
func unfenced(t *testing.T, c suite.Case) *policy.Index {
	t.Helper()
	index, err := c.Index()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range c.Scene {
		switch d.Kind {
		case object.KindNamespace:
			index.SetNamespace(d.Name, nil)
		case object.KindService:
			index.SetService(hostname.Host{Namespace: d.Namespace, Name: d.Name}, nil)
		}
	}
	return index
}

// TestObjectTransitions walks every case through changes of the config. What is there after a change must be
// what the config makes of the original, whatever came before.
func TestObjectTransitions(t *testing.T) {
	t.Parallel()
	var configs []*policy.Config
	for _, fence := range []string{"none", "prefer", "strict"} {
		for _, rest := range []string{
			"controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]",
			"controlPlane: {clusters: [m1c1]}\nholds: [subset]",
			"controlPlane: {clusters: [renamed]}\nholds: [subset]",
			"controlPlane: {clusters: [m1c1]}\nholds: [locality]\nlocalities: {m1c1: [r1/*]}",
			"controlPlane: {clusters: [m1c1]}\nholds: [locality, subset]\nlocalities: {m1c1: [r1/z1, r1/z2, r3/*]}",
			"controlPlane: {clusters: [m1c1, m1c2]}\nholds: [locality, subset]\nlocalities: {m1c1: [r1/*], m1c2: [r2/*]}",
		} {
			configs = append(configs, parse(t, fmt.Sprintf("%s\nscope: {namespaces: [{name: shop, fence: %s}]}", rest, fence)))
		}
	}
	for name, c := range load(t) {
		if c.Object.Kind == object.KindService || !untouched(c.Case) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, 2))
			stored := c.Object.JSON
			for step := range 60 {
				config := configs[random.IntN(len(configs))]
				index := policy.NewIndex(config)
				index.SetNamespace("shop", nil)
				stored = apply(t, stored, planFor(t, c.Object.Kind, stored, index))
				direct := apply(t, c.Object.JSON, planFor(t, c.Object.Kind, c.Object.JSON, index))
				if !same(t, fmt.Sprintf("step %d, holds %s, clusters %v", step, config.Holds, config.Clusters), direct, stored) {
					return
				}
			}
		})
	}
}

func parse(t testing.TB, rest string) *policy.Config {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{File: "config"},
		[]byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+rest))
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func planFor(t testing.TB, kind string, obj []byte, index *policy.Index) inject.Plan {
	t.Helper()
	decoded, err := object.Decode(kind, obj)
	if err != nil {
		t.Fatal(err)
	}
	return inject.Object(decoded, index.View())
}

func apply(t testing.TB, object []byte, plan inject.Plan) []byte {
	t.Helper()
	result, err := fixtures.Apply(object, plan.Edits)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func decodeAny(t testing.TB, object []byte) map[string]any {
	t.Helper()
	var root map[string]any
	if err := json.Unmarshal(object, &root); err != nil {
		t.Fatal(err)
	}
	return root
}

// same compares objects by their values. Empty labels and annotations are the same as none, which is what
// an API server stores.
func same(t testing.TB, when string, want, got []byte) bool {
	t.Helper()
	diff := cmp.Diff(stored(t, want), stored(t, got))
	if diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
	return diff == ""
}

func stored(t testing.TB, object []byte) map[string]any {
	t.Helper()
	root := decodeAny(t, object)
	metadata, _ := root["metadata"].(map[string]any)
	for _, field := range []string{"labels", "annotations"} {
		if set, ok := metadata[field].(map[string]any); ok && len(set) == 0 {
			delete(metadata, field)
		}
	}
	return root
}
