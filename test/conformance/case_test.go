package conformance_test

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// files are the cases, each named for what happens in it.
//
//go:embed testdata
var files embed.FS

// row is one case of a row of the catalogue. Every list holds objects as users write them. One without a namespace
// goes into that of the Service reviews, and the words of [scene.words] may be anywhere, such as $HOST.
type row struct {
	// In is the id of its row.
	In string `json:"row"`
	// Mesh is the kind of mesh that it needs, see [meshes].
	Mesh string `json:"mesh"`
	// As is the client that is asked for: sidecar unless set, ingress or east-west.
	As string `json:"as"`
	// From is the namespace of the client: that of the Service for a sidecar, and that of Istio for a gateway, unless
	// set.
	From string `json:"from"`
	// Labels are those of the client's Pod.
	Labels map[string]string `json:"labels"`
	// Network is that of the client.
	Network string `json:"network"`
	// Claims is the cluster that the client says it is in once the objects exist: the first, where it is, unless set.
	Claims string `json:"claims"`
	// Probes are connections that are followed beside those that verify asks for.
	Probes []probe `json:"probes"`
	// Alias is another name for the Pods of the Service, by which what leaks is asked for.
	Alias string `json:"alias"`
	// Note is what verify notes where it cannot tell where the client goes.
	Note string `json:"note"`
	// Unrepaired are the holds that repair the row but not this variant of it, which the guard must refuse.
	Unrepaired []string `json:"unrepaired"`
	// Spared are the holds under which the row leaks but not this variant of it. The guard may refuse it.
	Spared []string `json:"spared"`
	// Before are the objects that exist already, with which the host is held.
	Before []manifest `json:"before"`
	// Leak are the objects that let the traffic out.
	Leak []manifest `json:"leak"`
	// AnyOrder reports whether each of them alone is harmless, and that the guard refuses the one that comes last, whichever
	// that is.
	AnyOrder bool `json:"anyOrder"`
	// Alone reports whether no other case may be beside it, because it changes what the clients of others get: it hides the
	// Service from all, is for every Namespace, or makes a gateway of a network.
	Alone bool `json:"alone"`
	// Rules are the ids of rules that judge it beside those of the row.
	Rules []string `json:"rules"`
	// Neighbour are objects of the same shape that let nothing out.
	Neighbour []manifest `json:"neighbour"`

	name string
	leak.Row
}

// probe is a connection of the client's.
type probe struct {
	// To is the address and port that it dials.
	To string `json:"to"`
	// Host is that of its request; without one it sends something else than HTTP.
	Host string `json:"host"`
	// SNI is that of its TLS; without one it sends none.
	SNI string `json:"sni"`
}

// manifest is one object.
type manifest map[string]any

// The annotations of an object.
const (
	// inCluster is the cluster that it goes into: the first unless set.
	inCluster = "conformance/cluster"
	// deleted has it deleted, if it exists.
	deleted = "conformance/deleted"
	// replaced has it written over the one that exists, by a client that does not apply.
	replaced = "conformance/replaced"
	// subresource is the one by which its labels and its status are merged into what exists.
	subresource = "conformance/subresource"
)

// rows returns the cases in the order of the catalogue, and those of a row in that of their names.
func rows(t *testing.T) []row {
	t.Helper()
	paths, err := fs.Glob(files, "testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	catalogue := leak.Catalogue()
	cases := make([]row, len(paths))
	for i, file := range paths {
		data, err := fs.ReadFile(files, file)
		if err != nil {
			t.Fatal(err)
		}
		r := &cases[i]
		if err := yaml.UnmarshalStrict(data, r); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		r.name = strings.TrimSuffix(path.Base(file), ".yaml")
		n := slices.IndexFunc(catalogue, func(row leak.Row) bool { return row.ID == r.In })
		if n < 0 {
			t.Fatalf("%s: the catalogue has no row %q", file, r.In)
		}
		r.Row = catalogue[n]
	}
	slices.SortStableFunc(cases, func(a, b row) int {
		return slices.IndexFunc(catalogue, func(r leak.Row) bool { return r.ID == a.ID }) - slices.IndexFunc(catalogue, func(r leak.Row) bool { return r.ID == b.ID })
	})
	return cases
}

// leaks reports whether the row leaks under a hold without a guard, by the catalogue.
func (r row) leaks(hold policy.Hold) bool {
	if r.Harmless || r.Stops.Has(hold) || slices.Contains(r.Spared, name(hold)) {
		return false
	}
	return !r.Repairs.Has(hold) || slices.Contains(r.Unrepaired, name(hold))
}

// name returns the name of a hold, as a FenceConfig spells it.
func name(hold policy.Hold) string { return policy.HoldsOf(hold).String() }

// rules returns the rules that judge the case.
func (r row) rules() []leak.Rule {
	return slices.DeleteFunc(leak.Rules(), func(rule leak.Rule) bool {
		return !slices.Contains(rule.Rows, r.ID) && !slices.Contains(r.Rules, rule.ID)
	})
}

// TestRows reports whether the cases fit the catalogue: what a hold repairs it repairs in one variant of the row at least,
// and what leaks under it leaks in one.
func TestRows(t *testing.T) {
	shown := map[string]map[bool]policy.Holds{} // by row and whether it leaks
	for _, r := range rows(t) {
		if len(r.Leak) == 0 || len(r.Neighbour) == 0 {
			t.Errorf("%s: must have both objects that leak, and harmless ones", r.name)
		}
		if shown[r.ID] == nil {
			shown[r.ID] = map[bool]policy.Holds{}
		}
		for _, hold := range holds() {
			if slices.Contains(r.Unrepaired, name(hold)) && !r.Repairs.Has(hold) {
				t.Errorf("%s: %s does not repair the row", r.name, name(hold))
			}
			if slices.Contains(r.Spared, name(hold)) && (r.Stops | r.Repairs).Has(hold) {
				t.Errorf("%s: nothing of the row leaks under %s", r.name, name(hold))
			}
			shown[r.ID][r.leaks(hold)] |= policy.Holds(hold)
		}
	}
	for _, r := range leak.Catalogue() {
		for _, hold := range holds() {
			if leaks := !(r.Stops | r.Repairs).Has(hold); shown[r.ID] != nil && !r.Harmless && !shown[r.ID][leaks].Has(hold) {
				t.Errorf("row %s: no case shows under %s that it leaks, which the catalogue says is %t", r.ID, name(hold), leaks)
			}
		}
	}
}

// expand returns objects with words in the place of $NAME. Every word must be known.
func expand(objects []manifest, namespace string, word func(string) (string, bool)) ([]*unstructured.Unstructured, error) {
	expanded := make([]*unstructured.Unstructured, len(objects))
	for i, o := range objects {
		var encoded bytes.Buffer
		encoder := json.NewEncoder(&encoded)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(o); err != nil {
			return nil, err
		}
		var unknown []string
		text := os.Expand(encoded.String(), func(name string) string {
			value, ok := word(name)
			if !ok {
				unknown = append(unknown, name)
			}
			return value
		})
		if len(unknown) > 0 {
			return nil, fmt.Errorf("unknown words: %s", strings.Join(unknown, ", "))
		}
		expanded[i] = &unstructured.Unstructured{}
		if err := json.Unmarshal([]byte(text), &expanded[i].Object); err != nil {
			return nil, err
		}
		if expanded[i].GetNamespace() == "" && expanded[i].GetKind() != "Namespace" {
			expanded[i].SetNamespace(namespace)
		}
	}
	return expanded, nil
}
