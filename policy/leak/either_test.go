package leak_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
)

// notSecond says of pairs of a rule and a kind why nothing is found when an object of that kind comes second: the audit
// finds the first of them when it looks at everything, and soon after the fence of a Namespace or the config changes.
func notSecond() map[string]string {
	const notStored = "replicas do not store the other kind, of which there are too many"
	return map[string]string{
		"endpointslice-foreign-writer Service":     notStored,
		"pod-foreign-cluster Service":              notStored,
		"pod-foreign-network Service":              notStored,
		"pod-locality Service":                     notStored,
		"gateway-on-strict-destination Pod":        notStored,
		"sidecar-on-strict-destination Pod":        notStored,
		"virtualservice-foreign-host Pod":          notStored,
		"name-takes-headless-pod Pod":              notStored,
		"route-bypasses-subset GatewayClass":       "no class is judged: the audit looks at what is read through one",
		"meshconfig-cluster-local-removed Service": "the controller adds the entry of a Service that becomes strict",
		"service-ingress-waypoint Service":         "the Namespace is at fault, once for all of its Services",
		"service-network-gateway Service":          "it is about every strict Service of the cluster",
	}
}

// TestEitherComesSecond takes the cases of every rule apart. The object is found when it is created, as TestFixtures
// shows. Here it becomes what it is by an update, and then every object of the scene without which nothing is found
// comes after it: created, updated from one that says nothing, and a Service from one with the same fence.
func TestEitherComesSecond(t *testing.T) {
	t.Parallel()
	guard := leak.NewGuard(leak.Rules())
	unused := notSecond()
	pairs := 0
	for _, c := range load(t) {
		if c.Expect.Outcome != suite.Denied && c.Expect.Outcome != suite.Warned || c.Operation != "" || c.Old != nil {
			continue
		}
		rule, name := c.Suite(), place(c)
		obj := leak.Write{Object: decode(t, c.Object.Kind, c.Object.JSON), Writer: c.Writer}
		updated := obj
		updated.Old = leak.Known(silent(t, c.Object))
		if in := worldOf(t, c, c.Scene); !in.finds(guard, updated, rule) && !in.finds(guard, leak.Write{Object: updated.Before()}, rule) {
			t.Errorf("%s: nothing is found when the object is updated", name)
		}
		for i, other := range c.Scene {
			rest := slices.Delete(slices.Clone(c.Scene), i, i+1)
			if other.Kind == object.KindNamespace || worldOf(t, c, rest).finds(guard, obj, rule) {
				continue // the labels of Namespaces are for namespace-fence-loosened
			}
			pairs++
			pair := rule + " " + other.Kind
			if _, excused := notSecond()[pair]; excused {
				delete(unused, pair)
				continue
			}
			rest = append(rest, c.Object)
			for how, old := range olds(t, other) {
				scene, w := rest, leak.Write{Object: decode(t, other.Kind, other.JSON), Writer: "alice"}
				if old != nil {
					scene, w.Old = append(scene[:len(scene):len(scene)], *old), leak.Known(decode(t, old.Kind, old.JSON))
				}
				in := worldOf(t, c, scene)
				if w.Old != nil && in.finds(guard, obj, rule) {
					continue // it was so before
				}
				if !in.finds(guard, w, "") {
					t.Errorf("%s: nothing is found when %s %s/%s %s", name, other.Kind, other.Namespace, other.Name, how)
				}
			}
		}
	}
	t.Logf("%d pairs", pairs)
	for _, pair := range slices.Sorted(maps.Keys(unused)) {
		t.Errorf("no pair of %s needs an excuse", pair)
	}
}

// olds returns what an object may have been before, by how it comes to be what it is; nil where it was not there.
func olds(t *testing.T, d suite.Document) map[string]*suite.Document {
	t.Helper()
	bare := func(annotations map[string]string) *suite.Document {
		old := d
		old.Annotations, old.JSON = annotations, bareJSON(t, d, annotations)
		return &old
	}
	list := map[string]*suite.Document{"is created": nil, "is updated": bare(nil)}
	if d.Kind == object.KindService {
		list["is updated"] = bare(map[string]string{policy.FenceKey: "none"})
		list["changes with its fence"] = bare(d.Annotations)
	}
	return list
}

// silent is the object before anybody has said anything in it.
func silent(t *testing.T, d suite.Document) *object.Object {
	t.Helper()
	return decode(t, d.Kind, bareJSON(t, d, nil))
}

func bareJSON(t *testing.T, d suite.Document, annotations map[string]string) []byte {
	t.Helper()
	text, err := json.Marshal(map[string]any{"apiVersion": d.APIVersion, "kind": d.Kind, "metadata": map[string]any{
		"name": d.Name, "namespace": d.Namespace, "annotations": annotations,
	}})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// world is a case with another scene.
type world struct {
	suite.Case
	*policy.Index
}

func worldOf(t *testing.T, c suite.Case, scene []suite.Document) world {
	t.Helper()
	c.Scene, c.Old = scene, nil
	index, err := c.Index()
	if err != nil {
		t.Fatal(fmt.Errorf("%s: %w", place(c), err))
	}
	return world{c, index}
}

// finds reports whether admission finds something in a write, by a rule unless that is empty.
func (in world) finds(guard *leak.Guard, w leak.Write, rule string) bool {
	view := in.View()
	for {
		found := guard.Judge(w, view)
		if w.Kind == object.KindService {
			found = append(found, guard.Existing(w, view)...)
		}
		if !view.AnswerPods(in.Pods()) {
			return slices.ContainsFunc(found, func(f leak.Finding) bool { return rule == "" || f.Rule == rule })
		}
	}
}
