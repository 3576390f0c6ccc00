package search

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/meshfence/meshfence/policy/object"
)

// generator makes up objects for a base. It knows fields and values that are in them, and no way out of a fence.
type generator struct {
	*rand.Rand

	pools pools
	// kept are objects of earlier worlds, whose parts are put together anew.
	kept []Object
}

// newGenerator returns a generator for a base.
func newGenerator(r *rand.Rand, b Base, kept []Object) *generator {
	return &generator{Rand: r, pools: newPools(r, b), kept: kept}
}

// messageOf returns an empty spec of a kind of Istio's.
func messageOf(kind string) proto.Message {
	switch kind {
	case object.KindSidecar:
		return &networking.Sidecar{}
	case object.KindServiceEntry:
		return &networking.ServiceEntry{}
	case object.KindVirtualService:
		return &networking.VirtualService{}
	case object.KindDestinationRule:
		return &networking.DestinationRule{}
	case object.KindGateway:
		return &networking.Gateway{}
	case object.KindWorkloadEntry:
		return &networking.WorkloadEntry{}
	case object.KindWorkloadGroup:
		return &networking.WorkloadGroup{}
	}
	return nil
}

// istioKinds are the kinds of Istio's that are made up; one that is listed more often is made more often.
func istioKinds() []string {
	return []string{
		object.KindSidecar, object.KindSidecar, object.KindSidecar,
		object.KindServiceEntry, object.KindServiceEntry, object.KindServiceEntry, object.KindServiceEntry,
		object.KindVirtualService, object.KindVirtualService, object.KindVirtualService,
		object.KindDestinationRule, object.KindDestinationRule,
		object.KindGateway, object.KindWorkloadEntry, object.KindWorkloadEntry, object.KindWorkloadGroup,
	}
}

// attempts is how often an object is made up until Istio's validation takes it.
const attempts = 40

// istio makes up an object of a kind of Istio's.
func (g *generator) istio(kind string) (Object, bool) {
	for range attempts {
		spec := messageOf(kind)
		if kept, ok := g.keptOf(kind); ok && chance(g.Rand, 0.35) {
			if protojson.Unmarshal(kept, spec) != nil {
				continue
			}
			for range 1 + g.IntN(2) {
				g.mutate(spec.ProtoReflect())
			}
		} else {
			g.fill(spec.ProtoReflect(), 0)
		}
		if o, ok := g.object(kind, spec); ok && invalid(o) == nil {
			g.pools.learn(o)
			return o, true
		}
	}
	return nil, false
}

func (g *generator) keptOf(kind string) ([]byte, bool) {
	if len(g.kept) == 0 {
		return nil, false
	}
	for range 5 {
		if o := pick(g.Rand, g.kept); o.Kind() == kind {
			return Object(o.spec()).raw(), true
		}
	}
	return nil, false
}

func (g *generator) object(kind string, spec proto.Message) (Object, bool) {
	data, err := protojson.Marshal(spec)
	if err != nil {
		return nil, false
	}
	tree, err := decodeObject(data)
	if err != nil {
		return nil, false
	}
	g.agree(tree)
	return Object{
		"apiVersion": "networking.istio.io/v1", "kind": kind, "spec": map[string]any(tree),
		"metadata": map[string]any{"namespace": g.pools.namespace(), "name": g.pools.name(kind)},
	}, true
}

// agree has a tls route ask for names that are among the hosts of its VirtualService, as Istio demands. The name of a
// cluster may be named for gateways alone.
func (g *generator) agree(spec Object) {
	routes, _ := spec["tls"].([]any)
	hosts, _ := spec["hosts"].([]any)
	gateways := texts(spec["gateways"])
	if len(routes) > 0 && len(hosts) > 0 && len(gateways) > 0 && !slices.Contains(gateways, "mesh") && chance(g.Rand, 0.3) {
		hosts[g.IntN(len(hosts))] = g.pools.sni()
	}
	for _, r := range routes {
		route, _ := r.(map[string]any)
		matches, _ := route["match"].([]any)
		for _, m := range matches {
			if match, ok := m.(map[string]any); ok && len(hosts) > 0 {
				match["sniHosts"] = []any{pick(g.Rand, hosts)}
			}
		}
	}
}

// change returns an object with one field changed.
func (g *generator) change(o Object) (Object, bool) {
	spec := messageOf(o.Kind())
	if spec == nil {
		return g.changeKubernetes(o)
	}
	for range attempts {
		proto.Reset(spec)
		if protojson.Unmarshal(Object(o.spec()).raw(), spec) != nil {
			return nil, false
		}
		g.mutate(spec.ProtoReflect())
		data, err := protojson.Marshal(spec)
		if err != nil {
			continue
		}
		tree, err := decodeObject(data)
		if err != nil {
			continue
		}
		next := o.clone()
		next["spec"] = map[string]any(tree)
		if invalid(next) == nil {
			g.pools.learn(next)
			return next, true
		}
	}
	return nil, false
}

// fill gives a message some of its fields.
func (g *generator) fill(m protoreflect.Message, depth int) {
	if g.known(m) {
		return
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if of := f.ContainingOneof(); of != nil && m.WhichOneof(of) != nil {
			continue
		}
		if chance(g.Rand, weight(f, depth)) {
			g.set(m, f, depth)
		}
	}
}

// known fills the messages that stand for values.
func (g *generator) known(m protoreflect.Message) bool {
	fields := m.Descriptor().Fields()
	switch name := m.Descriptor().FullName(); {
	case name == "google.protobuf.Duration":
		m.Set(fields.ByName("seconds"), protoreflect.ValueOfInt64(int64(1+g.IntN(30))))
	case name == "google.protobuf.Struct" || name == "google.protobuf.Timestamp" || name == "google.protobuf.Any":
	case strings.HasPrefix(string(name), "google.protobuf.") && strings.HasSuffix(string(name), "Value"):
		f := fields.ByName("value")
		m.Set(f, g.scalar(f))
	default:
		return false
	}
	return true
}

// set gives a field a value.
func (g *generator) set(m protoreflect.Message, f protoreflect.FieldDescriptor, depth int) {
	switch {
	case f.IsMap():
		g.labels(m.Mutable(f).Map(), f)
	case f.IsList():
		m.Clear(f)
		list := m.Mutable(f).List()
		for n := 1 + min(g.IntN(4)/2, 1); n > 0; n-- {
			g.append(list, f, depth)
		}
	case f.Message() != nil:
		v := m.NewField(f)
		g.fill(v.Message(), depth+1)
		m.Set(f, v)
	default:
		m.Set(f, g.scalar(f))
	}
}

func (g *generator) append(list protoreflect.List, f protoreflect.FieldDescriptor, depth int) {
	if f.Message() != nil {
		v := list.NewElement()
		g.fill(v.Message(), depth+1)
		list.Append(v)
		return
	}
	list.Append(g.scalar(f))
}

func (g *generator) labels(m protoreflect.Map, f protoreflect.FieldDescriptor) {
	value := f.MapValue()
	for n := 1 + g.IntN(2); n > 0; n-- {
		key := g.pools.text(f)
		switch {
		case value.Kind() == protoreflect.StringKind:
			m.Set(protoreflect.ValueOfString(key).MapKey(), protoreflect.ValueOfString(g.pools.labelValue(key)))
		case value.Kind() == protoreflect.Uint32Kind:
			m.Set(protoreflect.ValueOfString(key).MapKey(), protoreflect.ValueOfUint32(uint32(g.pools.number(f))))
		case value.Message() != nil:
			v := m.NewValue()
			g.fill(v.Message(), 3)
			m.Set(protoreflect.ValueOfString(key).MapKey(), v)
		}
	}
}

func (g *generator) scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(chance(g.Rand, 0.6))
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(g.pools.enum(f))
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return protoreflect.ValueOfInt32(int32(g.pools.number(f)))
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return protoreflect.ValueOfUint32(uint32(g.pools.number(f)))
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return protoreflect.ValueOfInt64(int64(g.pools.number(f)))
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return protoreflect.ValueOfUint64(uint64(g.pools.number(f)))
	case protoreflect.FloatKind:
		return protoreflect.ValueOfFloat32(float32(g.IntN(100)))
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(float64(g.IntN(100)))
	case protoreflect.BytesKind:
		return protoreflect.ValueOfBytes([]byte("x"))
	}
	return protoreflect.ValueOfString(g.pools.text(f))
}

// mutate changes one field somewhere in a message: it is made up anew, dropped, or taken from a kept object.
func (g *generator) mutate(m protoreflect.Message) {
	messages := within(m)
	at := pick(g.Rand, messages)
	if g.known(at) {
		return
	}
	fields := at.Descriptor().Fields()
	if fields.Len() == 0 {
		return
	}
	if chance(g.Rand, 0.2) && g.cross(at) {
		return
	}
	f := fields.Get(g.IntN(fields.Len()))
	for range 8 { // what exists and what counts is changed more often
		if at.Has(f) || chance(g.Rand, weight(f, 0)) {
			break
		}
		f = fields.Get(g.IntN(fields.Len()))
	}
	switch {
	case at.Has(f) && chance(g.Rand, 0.25):
		at.Clear(f)
	case at.Has(f) && f.IsList() && chance(g.Rand, 0.5):
		g.append(at.Mutable(f).List(), f, 1)
	default:
		g.set(at, f, 1)
	}
}

// cross puts a message of the same type from a kept object in the place of one.
func (g *generator) cross(at protoreflect.Message) bool {
	if len(g.kept) == 0 {
		return false
	}
	for range 4 {
		o := pick(g.Rand, g.kept)
		spec := messageOf(o.Kind())
		if spec == nil || protojson.Unmarshal(Object(o.spec()).raw(), spec) != nil {
			continue
		}
		for _, from := range within(spec.ProtoReflect()) {
			if from.Descriptor().FullName() == at.Descriptor().FullName() {
				proto.Reset(at.Interface())
				proto.Merge(at.Interface(), from.Interface())
				return true
			}
		}
	}
	return false
}

// within lists a message and all messages in it, in the order of fields.
func within(m protoreflect.Message) []protoreflect.Message {
	found := []protoreflect.Message{m}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		switch {
		case !m.Has(f) || f.IsMap() || f.Message() == nil:
		case f.IsList():
			for j := range m.Get(f).List().Len() {
				found = append(found, within(m.Get(f).List().Get(j).Message())...)
			}
		default:
			found = append(found, within(m.Get(f).Message())...)
		}
	}
	return found
}

// related returns a kind that istiod reads together with another: the two are more often in one world.
func (g *generator) related(kind string) string {
	switch kind {
	case object.KindSidecar, object.KindWorkloadEntry:
		return pick(g.Rand, []string{object.KindServiceEntry, object.KindServiceEntry, object.KindService})
	case object.KindServiceEntry:
		return pick(g.Rand, []string{object.KindSidecar, object.KindSidecar, object.KindVirtualService})
	case object.KindGateway, object.KindService:
		return object.KindVirtualService
	case object.KindVirtualService:
		return pick(g.Rand, []string{object.KindGateway, object.KindDestinationRule, object.KindService})
	case object.KindPod:
		return object.KindService
	}
	return pick(g.Rand, istioKinds())
}

// steps makes up what users ask for.
func (g *generator) steps() []Step {
	var steps []Step
	for n := 1 + (g.IntN(4)+g.IntN(4))/2; n > 0; n-- {
		kind := pick(g.Rand, istioKinds())
		switch {
		case len(steps) > 0 && chance(g.Rand, 0.4):
			kind = g.related(steps[len(steps)-1].Object.Kind())
		case chance(g.Rand, 0.15):
			kind = "" // one of Kubernetes
		}
		if messageOf(kind) == nil {
			steps = append(steps, g.kubernetes(kind))
			continue
		}
		if o, ok := g.istio(kind); ok {
			steps = append(steps, Step{Object: o})
			if o.Kind() == object.KindServiceEntry && chance(g.Rand, 0.08) {
				steps = append(steps, Step{Object: g.status(o), Status: true})
			}
		}
	}
	return steps
}

// status makes up the addresses that somebody writes into the status of a ServiceEntry.
func (g *generator) status(o Object) Object {
	hosts := texts(o.spec()["hosts"])
	return Object{"apiVersion": o["apiVersion"], "kind": o.Kind(), "metadata": o["metadata"], "status": map[string]any{
		"addresses": []any{map[string]any{"host": pick(g.Rand, hosts), "value": g.pools.address()}},
	}}
}

// describe is for messages about generated objects.
func describe(o Object) string { return fmt.Sprintf("%s %s/%s", o.Kind(), o.Namespace(), o.Name()) }
