package admit_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/test/fixtures"
)

func add(value any, path ...string) inject.Edit { return inject.Edit{Path: path, Value: value} }

func remove(prune int, path ...string) inject.Edit { return inject.Edit{Path: path, Prune: prune} }

func TestPatch(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		object string
		edits  []inject.Edit
		want   string // the patch
		result string // the patched object
	}{
		"no edits of what is no object": {
			object: "not JSON", want: "null", result: "not JSON",
		},
		"replace a member": {
			object: `{"a":{"b":1,"c":2}}`,
			edits:  []inject.Edit{add("x", "a", "b")},
			want:   `[{"op":"add","path":"/a/b","value":"x"}]`,
			result: `{"a":{"b":"x","c":2}}`,
		},
		"an empty string is a value": {
			object: `{}`,
			edits:  []inject.Edit{add("", "a")},
			want:   `[{"op":"add","path":"/a","value":""}]`,
			result: `{"a":""}`,
		},
		"keys are escaped": {
			object: `{"metadata":{"labels":{"a~b/c":"1"}}}`,
			edits:  []inject.Edit{add("2", "metadata", "labels", "meshfence.io/fenced"), add("3", "metadata", "labels", "a~b/c")},
			want: `[{"op":"add","path":"/metadata/labels/meshfence.io~1fenced","value":"2"},
			        {"op":"add","path":"/metadata/labels/a~0b~1c","value":"3"}]`,
			result: `{"metadata":{"labels":{"a~b/c":"3","meshfence.io/fenced":"2"}}}`,
		},
		"keys are read through JSON escapes": {
			object: `{"metad\u0061ta":{"a\"}":{"b":1}}}`,
			edits:  []inject.Edit{add("x", "metadata", `a"}`, "c")},
			want:   `[{"op":"add","path":"/metadata/a\"}/c","value":"x"}]`,
			result: `{"metadata":{"a\"}":{"b":1,"c":"x"}}}`,
		},
		"absent parents come with the value": {
			object: `{"spec":{}}`,
			edits:  []inject.Edit{add([]any{"x"}, "spec", "trafficPolicy", "loadBalancer", "list")},
			want:   `[{"op":"add","path":"/spec/trafficPolicy","value":{"loadBalancer":{"list":["x"]}}}]`,
			result: `{"spec":{"trafficPolicy":{"loadBalancer":{"list":["x"]}}}}`,
		},
		"an absent list comes with its first item": {
			object: `{}`,
			edits:  []inject.Edit{add("x", "a", "-", "b"), add("y", "c", "0")},
			want: `[{"op":"add","path":"/a","value":[{"b":"x"}]},
			        {"op":"add","path":"/c","value":["y"]}]`,
			result: `{"a":[{"b":"x"}],"c":["y"]}`,
		},
		"a parent that is null counts as absent": {
			object: `{"metadata":{"labels": null }}`,
			edits:  []inject.Edit{add("x", "metadata", "labels", "a")},
			want:   `[{"op":"add","path":"/metadata/labels","value":{"a":"x"}}]`,
			result: `{"metadata":{"labels":{"a":"x"}}}`,
		},
		"an item that is null is replaced": {
			object: `{"subsets":[{"name":"v1"},null,{"name":"v3"}]}`,
			edits:  []inject.Edit{add("x", "subsets", "1", "labels", "a")},
			want: `[{"op":"remove","path":"/subsets/1"},
			        {"op":"add","path":"/subsets/1","value":{"labels":{"a":"x"}}}]`,
			result: `{"subsets":[{"name":"v1"},{"labels":{"a":"x"}},{"name":"v3"}]}`,
		},
		"edits share an absent parent": {
			object: `{"metadata":{}}`,
			edits:  []inject.Edit{add("1", "metadata", "labels", "a"), add("2", "metadata", "labels", "b")},
			want: `[{"op":"add","path":"/metadata/labels","value":{"a":"1"}},
			        {"op":"add","path":"/metadata/labels/b","value":"2"}]`,
			result: `{"metadata":{"labels":{"a":"1","b":"2"}}}`,
		},
		"an edit reaches into what an earlier one added": {
			object: `{}`,
			edits:  []inject.Edit{add(map[string]any{"b": []any{int64(1)}}, "a"), add(int64(2), "a", "b", "-")},
			want: `[{"op":"add","path":"/a","value":{"b":[1]}},
			        {"op":"add","path":"/a/b/-","value":2}]`,
			result: `{"a":{"b":[1,2]}}`,
		},
		"insert and append": {
			object: `{"a":[ "x" , "y" ]}`,
			edits:  []inject.Edit{add("0", "a", "0"), add("9", "a", "-"), add("z", "a", "4")},
			want: `[{"op":"add","path":"/a/0","value":"0"},
			        {"op":"add","path":"/a/-","value":"9"},
			        {"op":"add","path":"/a/4","value":"z"}]`,
			result: `{"a":["0","x","y","9","z"]}`,
		},
		"items are removed from the back": {
			object: `{"a":["x","y","z"]}`,
			edits:  []inject.Edit{remove(1, "a", "2"), remove(1, "a", "0")},
			want:   `[{"op":"remove","path":"/a/2"},{"op":"remove","path":"/a/0"}]`,
			result: `{"a":["y"]}`,
		},
		"what is absent is not removed": {
			object: `{"a":{},"l":[1],"n":null}`,
			edits:  []inject.Edit{remove(1, "a", "b"), remove(1, "b", "c", "d"), remove(0, "l", "1"), remove(0, "l", "-"), remove(0, "n", "x")},
			want:   `null`,
			result: `{"a":{},"l":[1],"n":null}`,
		},
		"a null is removed": {
			object: `{"a":{"b":null}}`,
			edits:  []inject.Edit{remove(0, "a", "b")},
			want:   `[{"op":"remove","path":"/a/b"}]`,
			result: `{"a":{}}`,
		},
		"a parent left empty is pruned": {
			object: `{"metadata":{"annotations":{"a":"1"},"name":"x"}}`,
			edits:  []inject.Edit{remove(1, "metadata", "annotations", "a")},
			want:   `[{"op":"remove","path":"/metadata/annotations"}]`,
			result: `{"metadata":{"name":"x"}}`,
		},
		"a parent that keeps something is not pruned": {
			object: `{"metadata":{"annotations":{"a":"1","b":"2"}}}`,
			edits:  []inject.Edit{remove(1, "metadata", "annotations", "a")},
			want:   `[{"op":"remove","path":"/metadata/annotations/a"}]`,
			result: `{"metadata":{"annotations":{"b":"2"}}}`,
		},
		"no more parents are pruned than allowed": {
			object: `{"a":{"b":{"c":{"d":1}}}}`,
			edits:  []inject.Edit{remove(2, "a", "b", "c", "d")},
			want:   `[{"op":"remove","path":"/a/b"}]`,
			result: `{"a":{}}`,
		},
		"the root is not pruned": {
			object: `{"a":{"b":1}}`,
			edits:  []inject.Edit{remove(9, "a", "b")},
			want:   `[{"op":"remove","path":"/a"}]`,
			result: `{}`,
		},
		"pruning counts what earlier edits took": {
			object: `{"spec":{"trafficPolicy":{"loadBalancer":{"x":[1]},"outlierDetection":{}}}}`,
			edits:  []inject.Edit{remove(3, "spec", "trafficPolicy", "loadBalancer", "x", "0"), remove(1, "spec", "trafficPolicy", "outlierDetection")},
			want: `[{"op":"remove","path":"/spec/trafficPolicy/loadBalancer"},
			        {"op":"remove","path":"/spec/trafficPolicy"}]`,
			result: `{"spec":{}}`,
		},
		"what was pruned is created again": {
			object: `{"metadata":{"labels":{"a":"1"}}}`,
			edits:  []inject.Edit{remove(1, "metadata", "labels", "a"), add("2", "metadata", "labels", "b")},
			want: `[{"op":"remove","path":"/metadata/labels"},
			        {"op":"add","path":"/metadata/labels","value":{"b":"2"}}]`,
			result: `{"metadata":{"labels":{"b":"2"}}}`,
		},
		"the last of two equal keys counts": {
			object: `{"a":{"x":1},"a":{"y":1}}`,
			edits:  []inject.Edit{remove(0, "a", "x"), remove(1, "a", "y")},
			want:   `[{"op":"remove","path":"/a"}]`,
			result: `{}`,
		},
		"the last of equal keys goes with the others": {
			object: `{"a":{"x":1,"x":2}}`,
			edits:  []inject.Edit{remove(0, "a", "x"), remove(0, "a", "x")},
			want:   `[{"op":"remove","path":"/a/x"}]`,
			result: `{"a":{}}`,
		},
		"numbers and unknown fields stay": {
			object: `{"a":{"n":12345678901234567890,"f":1.50,"e":1e400,"u":{"deep":[{"x":null}]}}}`,
			edits:  []inject.Edit{add("x", "a", "b")},
			want:   `[{"op":"add","path":"/a/b","value":"x"}]`,
			result: `{"a":{"n":12345678901234567890,"f":1.50,"e":1e400,"u":{"deep":[{"x":null}]},"b":"x"}}`,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			operations, err := admit.Patch([]byte(test.object), test.edits)
			if err != nil {
				t.Fatal(err)
			}
			encoded, err := json.Marshal(operations)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(fixtures.Sorted(t, test.want), fixtures.Sorted(t, string(encoded))); diff != "" {
				t.Errorf("patch (-want +got):\n%s", diff)
			}
			result, err := admit.Apply([]byte(test.object), test.edits)
			if err != nil {
				t.Fatal(err)
			}
			if test.want == "null" {
				if string(result) != test.result {
					t.Errorf("object = %s, want it untouched", result)
				}
				return
			}
			if diff := cmp.Diff(fixtures.Sorted(t, test.result), fixtures.Sorted(t, string(result))); diff != "" {
				t.Errorf("object (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPatchRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		object string
		edit   inject.Edit
		want   string
	}{
		"a path through a string":        {`{"a":"x"}`, add("1", "a", "b"), "edit /a/b: must lead through mappings and lists"},
		"an index behind the list":       {`{"a":[1]}`, add("1", "a", "2"), `edit /a/2: "2" must be an index of a list of 1`},
		"a name in a list":               {`{"a":[1]}`, remove(0, "a", "x"), `edit /a/x: "x" must be an index of a list of 1`},
		"an index that is not canonical": {`{"a":[1,2]}`, remove(0, "a", "+1"), `edit /a/+1: "+1" must be an index of a list of 2`},
		"the root":                       {`{}`, remove(0), "edit : must lead through mappings and lists"},
		"adding the root":                {`{}`, add("x"), "edit : must lead through mappings and lists"},
		"a list as root":                 {`null`, add("x", "a"), "edit /a: must lead through mappings and lists"},
		"an object cut short":            {`{"a":{"b":1`, add("x", "a", "c"), "edit /a/c: must be valid JSON"},
		"a key without a value":          {`{"a"}`, add("x", "a"), "edit /a: must be valid JSON"},
		"a value that is no JSON":        {`{}`, add(func() {}, "a"), "edit /a: encode value: json: unsupported type: func()"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			operations, err := admit.Patch([]byte(test.object), []inject.Edit{test.edit})
			if err == nil || err.Error() != test.want {
				t.Errorf("Patch = %v, %v; want error %q", operations, err, test.want)
			}
			if _, err := admit.Apply([]byte(test.object), []inject.Edit{test.edit}); err == nil {
				t.Error("Apply gives no error")
			}
		})
	}
}
