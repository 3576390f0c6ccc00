package admit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// fuzzIndexes returns one index for each way in which holds and fences meet.
func fuzzIndexes(f *testing.F) []*policy.Index {
	f.Helper()
	const (
		head     = "apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"
		one      = head + "controlPlane: {clusters: [m1c1]}\n"
		two      = head + "controlPlane: {clusters: [m1c1, m1c2]}\n"
		strict   = "scope: {namespaces: [{name: shop, fence: strict}]}\n"
		prefer   = "scope: {default: prefer, namespaces: [{name: shop, fence: strict}]}\n"
		locality = "localities: {m1c1: [east/*]}\n"
	)
	var indexes []*policy.Index
	for _, text := range []string{
		one + "holds: [subset]\n" + strict,
		one + "holds: [subset]\n" + prefer,
		one + "holds: [locality, subset]\n" + locality + prefer,
		one + "holds: [locality]\n" + strict,
		one + "holds: [meshConfig]\n" + strict,
		two + "holds: [locality, subset]\nlocalities: {m1c1: [east/a], m1c2: [east/b, west]}\n" + strict,
		two + "holds: [meshConfig, subset]\n" + prefer,
		one + "holds: [subset]\n",
	} {
		config, err := policy.ParseConfig(policy.Source{File: "test", Rules: leak.IDs(leak.Rules())}, []byte(text))
		if err != nil {
			f.Fatal(err)
		}
		index := policy.NewIndex(config)
		for _, namespace := range []string{"shop", "default"} {
			index.SetNamespace(namespace, nil)
			for _, name := range []string{"reviews", "ratings"} {
				index.SetService(hostname.Host{Namespace: namespace, Name: name}, nil)
			}
			index.SetService(hostname.Host{Namespace: namespace, Name: "loose"}, map[string]string{policy.FenceKey: "none"})
			index.SetService(hostname.Host{Namespace: namespace, Name: "tight"}, map[string]string{policy.FenceKey: "strict"})
		}
		indexes = append(indexes, index)
	}
	return indexes
}

// FuzzPatch mutates objects that are given as JSON, or built from the bytes where those are no JSON. The
// patch must apply as the API server applies it, change what the edits say and nothing else, and leave
// nothing to do.
func FuzzPatch(f *testing.F) {
	kinds := []string{object.KindDestinationRule, object.KindVirtualService, object.KindService}
	indexes := fuzzIndexes(f)
	for i := range byte(len(indexes)) {
		f.Add(byte(0), i, []byte(`{"metadata":{"namespace":"shop"},"spec":{"host":"reviews","trafficPolicy":{"loadBalancer":{"simple":"ROUND_ROBIN"},`+
			`"portLevelSettings":[{"port":{"number":1},"x":12345678901234567890}]},"subsets":[{"name":"v1"},null,{"name":"meshfence-x","labels":{"topology.istio.io/cluster":"x"}}]}}`))
		f.Add(byte(1), i, []byte(`{"metadata":{"namespace":"shop"},"spec":{"hosts":["reviews"],"http":[{"route":[{"destination":{"host":"reviews"}}],"mirror":{"host":"ratings","subset":"meshfence-local"}}]}}`))
		f.Add(byte(2), i, []byte(`{"metadata":{"namespace":"shop","name":"reviews","labels":null,"annotations":{"a~/b":"\u0000"}}}`))
		for kind := range byte(len(kinds)) {
			f.Add(kind, i, []byte("\x01\x05\x09\x11\x21\x07\x03\x0b\x0d\x02\x04\x06\x08\x0a\x0c\x0e\x10\x12\x14\x16\x18\x1a\x1c"))
			f.Add(kind, i, bytes.Repeat([]byte{0xff, 3, 7, 1}, 40))
		}
	}
	f.Fuzz(func(t *testing.T, kind, config byte, data []byte) {
		subject := admit.Request{Kind: kinds[int(kind)%len(kinds)], Namespace: "shop", Raw: data}
		index := indexes[int(config)%len(indexes)]
		if !json.Valid(data) {
			built, err := json.Marshal(build(subject.Kind, data))
			if err != nil {
				t.Fatal(err)
			}
			subject.Raw = built
		}
		edits, err := admit.Mutate(subject, index.View())
		if err != nil {
			if _, ok := errors.AsType[*admit.BadRequest](err); !ok {
				t.Fatalf("not a bad request: %v", err)
			}
			return
		}
		assertSameEdits(t, subject, index.View(), edits)
		if repeatsKeys(t, subject.Raw) {
			// The API server sends none; readers disagree about which one counts. No panic is all there is to ask.
			_, _ = admit.Patch(subject.Raw, edits)
			return
		}
		operations, err := admit.Patch(subject.Raw, edits)
		if err != nil {
			t.Fatalf("patch %s: %v", subject.Raw, err)
		}
		patched := applyOperations(t, subject.Raw, operations)
		want := sortedValue(t, edited(t, decodeJSON(t, subject.Raw), edits))
		if diff := cmp.Diff(want, sortedValue(t, decodeJSON(t, patched))); diff != "" {
			t.Fatalf("%s\n%+v (-want +got):\n%s", subject.Raw, edits, diff)
		}
		if ambiguous(t, subject) {
			return
		}
		subject.Raw = patched
		again, err := admit.Mutate(subject, index.View())
		if err != nil || len(again) > 0 {
			t.Fatalf("second mutation of %s: %+v, %v", patched, again, err)
		}
	})
}

// ambiguous reports whether two subsets of a DestinationRule share a name or two settings a port: what admission
// recorded for one of them it then takes for both, and takes back what it did not add.
func ambiguous(t *testing.T, s admit.Request) bool {
	t.Helper()
	if s.Kind != object.KindDestinationRule {
		return false
	}
	obj, err := object.Decode(s.Kind, s.Raw)
	if err != nil {
		t.Fatal(err)
	}
	repeats := func(p *object.TrafficPolicy) bool {
		ports := map[int64]bool{}
		if p != nil {
			for _, settings := range p.PortLevelSettings {
				ports[settings.Port.Number] = true
			}
		}
		return p != nil && len(ports) < len(p.PortLevelSettings)
	}
	subsets := map[string]bool{}
	for _, subset := range obj.DestinationRule.Subsets {
		if subsets[subset.Name] || repeats(subset.TrafficPolicy) {
			return true
		}
		subsets[subset.Name] = true
	}
	return repeats(obj.DestinationRule.TrafficPolicy)
}

// assertSameEdits checks that no edit is lost where Mutate does not decode.
func assertSameEdits(t *testing.T, s admit.Request, view *policy.View, edits []inject.Edit) {
	t.Helper()
	object, err := object.Decode(s.Kind, s.Raw)
	if err != nil {
		return
	}
	if object.Metadata.Namespace == "" {
		object.Metadata.Namespace = s.Namespace
	}
	if diff := cmp.Diff(inject.Object(object, view).Edits, edits); diff != "" {
		t.Fatalf("%s: edits (-want +got):\n%s", s.Raw, diff)
	}
}

func applyOperations(t *testing.T, object []byte, operations []admit.Operation) []byte {
	t.Helper()
	if len(operations) == 0 {
		return object
	}
	encoded, err := json.Marshal(operations)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := patch.Apply(object)
	if err != nil {
		t.Fatalf("apply %s to %s: %v", encoded, object, err)
	}
	return patched
}
