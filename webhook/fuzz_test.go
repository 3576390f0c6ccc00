package webhook_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/webhook"
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
		one + "holds: [meshConfig]\n" + strict,
		two + "holds: [locality, subset]\nlocalities: {m1c1: [east/a], m1c2: [east/b, west]}\n" + strict,
		two + "holds: [meshConfig, subset]\n" + prefer,
		one + "holds: [subset]\n",
	} {
		config, err := policy.ParseConfig(webhook.ConfigSource(install, leak.Rules()), []byte(text))
		if err != nil {
			f.Fatal(err)
		}
		index := policy.NewIndex(config)
		for _, namespace := range []string{"shop", "default"} {
			index.SetNamespace(namespace, nil)
			for _, name := range []string{"reviews", "ratings"} {
				index.SetService(policy.Host{Namespace: namespace, Name: name}, nil)
			}
			index.SetService(policy.Host{Namespace: namespace, Name: "loose"}, map[string]string{policy.FenceKey: "none"})
			index.SetService(policy.Host{Namespace: namespace, Name: "tight"}, map[string]string{policy.FenceKey: "strict"})
		}
		indexes = append(indexes, index)
	}
	return indexes
}

// FuzzPatch mutates objects that are given as JSON, or built from the bytes where those are no JSON. The
// patch must apply as the API server applies it, change what the edits say and nothing else, and leave
// nothing to do.
func FuzzPatch(f *testing.F) {
	kinds := []string{policy.KindDestinationRule, policy.KindVirtualService, policy.KindService}
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
		subject := webhook.Subject{Kind: kinds[int(kind)%len(kinds)], Namespace: "shop", Raw: data}
		index := indexes[int(config)%len(indexes)]
		if !json.Valid(data) {
			built, err := json.Marshal(build(subject.Kind, data))
			if err != nil {
				t.Fatal(err)
			}
			subject.Raw = built
		}
		edits, err := webhook.Mutate(subject, index.View())
		if err != nil {
			if _, ok := errors.AsType[*webhook.BadRequest](err); !ok {
				t.Fatalf("not a bad request: %v", err)
			}
			return
		}
		assertSameEdits(t, subject, index.View(), edits)
		if repeatsKeys(t, subject.Raw) {
			// The API server sends none; readers disagree about which one counts. No panic is all there is to ask.
			_, _ = webhook.Patch(subject.Raw, edits)
			return
		}
		operations, err := webhook.Patch(subject.Raw, edits)
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
		again, err := webhook.Mutate(subject, index.View())
		if err != nil || len(again) > 0 {
			t.Fatalf("second mutation of %s: %+v, %v", patched, again, err)
		}
	})
}

// ambiguous says whether two subsets of a DestinationRule share a name or two settings a port: what admission
// recorded for one of them it then takes for both, and takes back what it did not add.
func ambiguous(t *testing.T, s webhook.Subject) bool {
	t.Helper()
	if s.Kind != policy.KindDestinationRule {
		return false
	}
	object, err := policy.Decode(s.Kind, s.Raw)
	if err != nil {
		t.Fatal(err)
	}
	repeats := func(p *policy.TrafficPolicy) bool {
		ports := map[int64]bool{}
		if p != nil {
			for _, settings := range p.PortLevelSettings {
				ports[settings.Port.Number] = true
			}
		}
		return p != nil && len(ports) < len(p.PortLevelSettings)
	}
	subsets := map[string]bool{}
	for _, subset := range object.DestinationRule.Subsets {
		if subsets[subset.Name] || repeats(subset.TrafficPolicy) {
			return true
		}
		subsets[subset.Name] = true
	}
	return repeats(object.DestinationRule.TrafficPolicy)
}

// assertSameEdits checks that no edit is lost where Mutate does not decode.
func assertSameEdits(t *testing.T, s webhook.Subject, view *policy.View, edits []inject.Edit) {
	t.Helper()
	object, err := policy.Decode(s.Kind, s.Raw)
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

func applyOperations(t *testing.T, object []byte, operations []webhook.Operation) []byte {
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

// edited makes edits in the plainest way: it decodes everything and follows the words of inject.Edit.
func edited(t *testing.T, root any, edits []inject.Edit) any {
	t.Helper()
	for _, e := range edits {
		if e.Value == nil {
			root, _ = without(root, e.Path, e.Prune)
			continue
		}
		encoded, err := json.Marshal(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		root = with(t, root, e.Path, decodeJSON(t, encoded))
	}
	return root
}

func with(t *testing.T, at any, path []string, value any) any {
	t.Helper()
	if len(path) == 0 {
		return value
	}
	if at == nil && (path[0] == "-" || path[0] == "0") {
		return []any{with(t, nil, path[1:], value)}
	}
	switch at := at.(type) {
	case nil:
		return map[string]any{path[0]: with(t, nil, path[1:], value)}
	case map[string]any:
		at[path[0]] = with(t, at[path[0]], path[1:], value)
		return at
	case []any:
		i, err := strconv.Atoi(path[0])
		if path[0] == "-" {
			i, err = len(at), nil
		}
		switch {
		case err != nil:
			t.Fatal(err)
		case len(path) == 1:
			return slices.Insert(at, i, value)
		case i == len(at):
			return append(at, with(t, nil, path[1:], value))
		}
		at[i] = with(t, at[i], path[1:], value)
		return at
	}
	t.Fatalf("%T on the way to %v", at, path)
	return nil
}

// without also returns how many parents may still go; it is negative once one has stayed.
func without(at any, path []string, prune int) (any, int) {
	emptied := func(child any, left int) bool { return left > 0 && (isEmpty(child)) }
	switch at := at.(type) {
	case map[string]any:
		child, ok := at[path[0]]
		if !ok {
			return at, -1
		}
		if len(path) == 1 {
			delete(at, path[0])
			return at, prune
		}
		child, left := without(child, path[1:], prune)
		at[path[0]] = child
		if !emptied(child, left) {
			return at, -1
		}
		delete(at, path[0])
		return at, left - 1
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(at) {
			return at, -1
		}
		if len(path) == 1 {
			return slices.Delete(at, i, i+1), prune
		}
		child, left := without(at[i], path[1:], prune)
		at[i] = child
		if !emptied(child, left) {
			return at, -1
		}
		return slices.Delete(at, i, i+1), left - 1
	}
	return at, -1
}

func isEmpty(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return false
}

func decodeJSON(t *testing.T, data []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	return value
}

func sortedValue(t *testing.T, value any) string {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// repeatsKeys says whether a mapping has a key twice: then fewer keys are left after decoding.
func repeatsKeys(t *testing.T, data []byte) bool {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	tokens := 0
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		tokens++
	}
	return tokens != countTokens(decodeJSON(t, data))
}

func countTokens(value any) int {
	n := 1
	switch value := value.(type) {
	case map[string]any:
		n++
		for _, child := range value {
			n += 1 + countTokens(child)
		}
	case []any:
		n++
		for _, child := range value {
			n += countTokens(child)
		}
	}
	return n
}

// builder makes choices from bytes; when they are used up it chooses the first.
type builder struct{ data []byte }

func (b *builder) pick(n int) int {
	if len(b.data) == 0 {
		return 0
	}
	c := int(b.data[0]) % n
	b.data = b.data[1:]
	return c
}

func (b *builder) one(values ...any) any { return values[b.pick(len(values))] }

// text gives a mapping of strings a member, a null, or nothing.
func (b *builder) text(m map[string]any, key string, values ...any) {
	if c := b.pick(4); c > 0 {
		m[key] = b.one(append(values, nil)...)
	}
}

// set gives a mapping a member, a null, or nothing; one time in eight an unknown member beside it.
func (b *builder) set(m map[string]any, key string, value func() any) {
	switch c := b.pick(8); c {
	case 0, 1:
	case 2:
		m[key] = nil
	case 3:
		m["x-"+key] = json.RawMessage(`{"deep":[12345678901234567890,null,1.50]}`)
		fallthrough
	default:
		m[key] = value()
	}
}

func (b *builder) list(most int, value func() any) []any {
	list := make([]any, b.pick(most+1))
	for i := range list {
		list[i] = value()
	}
	return list
}

func (b *builder) host() any {
	return b.one("reviews", "ratings.shop.svc.cluster.local", "loose", "tight", "reviews.default.svc.cluster.local", "web.example.com",
		"*.shop.svc.cluster.local", "*", "*.default.svc.cluster.local", "")
}

// build returns an object of that kind.
func build(kind string, data []byte) map[string]any {
	b := &builder{data}
	metadata := map[string]any{"name": b.one("reviews", "loose", "tight", "new"), "namespace": b.one("shop", "default")}
	b.set(metadata, "labels", func() any {
		m := map[string]any{}
		b.text(m, policy.FencedLabel, "strict", "prefer", "no")
		b.text(m, "a/b~c", "d")
		return m
	})
	b.set(metadata, "annotations", func() any {
		m := map[string]any{}
		b.text(m, policy.FenceKey, "strict", "prefer", "none", "no")
		b.text(m, policy.FencedByAnnotation, "x")
		b.text(m, policy.InjectedAnnotation, "", "{", `{"labels":{"v1":"m1c1","v2":"m1c2"},"analyzeSuppress":true}`, `{"levels":{"top":{}}}`)
		b.text(m, "galley.istio.io/analyze-suppress", "", "IST0173", "IST0001, IST0173", "*")
		return m
	})
	object := map[string]any{"metadata": metadata}
	b.set(object, "spec", func() any {
		spec := map[string]any{}
		switch kind {
		case policy.KindDestinationRule:
			b.destinationRule(spec)
		case policy.KindVirtualService:
			b.virtualService(spec)
		}
		return spec
	})
	return object
}

func (b *builder) destinationRule(spec map[string]any) {
	spec["host"] = b.host()
	b.set(spec, "trafficPolicy", b.trafficPolicy)
	b.set(spec, "subsets", func() any {
		names := strings.Fields("v1 v2 meshfence-local meshfence-m1c2 meshfence-x")
		return b.list(3, func() any {
			if b.pick(9) == 8 {
				return nil
			}
			subset := map[string]any{"name": names[b.pick(len(names))]}
			b.set(subset, "labels", func() any {
				m := map[string]any{}
				if b.pick(3) > 0 {
					m[policy.ClusterLabel] = b.one("m1c1", "m1c2")
				}
				b.text(m, "version", "v1")
				return m
			})
			b.set(subset, "trafficPolicy", b.trafficPolicy)
			return subset
		})
	})
}

func (b *builder) trafficPolicy() any {
	policy := map[string]any{}
	b.settings(policy)
	b.set(policy, "portLevelSettings", func() any {
		return b.list(2, func() any {
			if b.pick(9) == 8 {
				return nil
			}
			port := map[string]any{"port": map[string]any{"number": b.pick(3)}}
			b.settings(port)
			return port
		})
	})
	return policy
}

func (b *builder) settings(m map[string]any) {
	b.set(m, "outlierDetection", func() any {
		return b.one(map[string]any{}, map[string]any{"consecutive5xxErrors": 5},
			map[string]any{"consecutive5xxErrors": 5, "interval": "10s", "baseEjectionTime": "30s", "maxEjectionPercent": 100})
	})
	b.set(m, "loadBalancer", func() any {
		lb := map[string]any{}
		b.set(lb, "simple", func() any { return b.one("ROUND_ROBIN", "PASSTHROUGH") })
		b.set(lb, "zoneAwareLbSetting", func() any { return map[string]any{} })
		b.set(lb, "localityLbSetting", func() any {
			locality := map[string]any{}
			b.set(locality, "enabled", func() any { return b.one(true, false) })
			b.set(locality, "failover", func() any { return b.list(1, func() any { return map[string]any{"from": "a", "to": "b"} }) })
			b.set(locality, "distribute", func() any {
				return b.list(2, func() any { return map[string]any{"from": b.one("*", "east/a"), "to": map[string]any{"east/*": 100}} })
			})
			b.set(locality, "failoverPriority", func() any { return b.list(2, func() any { return b.one("topology.istio.io/cluster", "a") }) })
			return locality
		})
		return lb
	})
}

func (b *builder) virtualService(spec map[string]any) {
	b.set(spec, "hosts", func() any { return b.list(2, b.host) })
	destination := func() any {
		d := map[string]any{"host": b.host()}
		b.set(d, "subset", func() any { return b.one("meshfence-local", "v1", "", "meshfence-m1c2") })
		return d
	}
	weighted := func() any {
		m := map[string]any{}
		b.set(m, "destination", destination)
		return m
	}
	b.set(spec, "http", func() any {
		return b.list(2, func() any {
			m := map[string]any{}
			b.set(m, "route", func() any { return b.list(2, weighted) })
			b.set(m, "mirror", destination)
			b.set(m, "mirrors", func() any { return b.list(2, weighted) })
			return m
		})
	})
	for _, protocol := range []string{"tcp", "tls"} {
		b.set(spec, protocol, func() any {
			return b.list(2, func() any {
				m := map[string]any{}
				b.set(m, "route", func() any { return b.list(2, weighted) })
				return m
			})
		})
	}
}
