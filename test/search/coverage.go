package search

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// Coverage counts what was set in accepted objects.
type Coverage struct {
	// fields are the paths of fields by kind.
	fields map[string]map[string]int
	// together are pairs of kinds that were in one world.
	together map[[2]string]int
	// pairs are pairs of fields that were in one object, by kind.
	pairs map[string]map[[2]string]int
}

// NewCoverage returns one that has counted nothing.
func NewCoverage() Coverage {
	return Coverage{fields: map[string]map[string]int{}, together: map[[2]string]int{}, pairs: map[string]map[[2]string]int{}}
}

// Add counts the accepted objects of a world.
func (c Coverage) Add(accepted []Step) {
	kinds := map[string]bool{}
	for _, s := range accepted {
		kind := s.Object.Kind()
		kinds[kind] = true
		if c.fields[kind] == nil {
			c.fields[kind], c.pairs[kind] = map[string]int{}, map[[2]string]int{}
		}
		fields := s.Object.fields()
		for i, f := range fields {
			c.fields[kind][f]++
			for _, g := range fields[i+1:] {
				c.pairs[kind][[2]string{f, g}]++
			}
		}
	}
	sorted := slices.Sorted(maps.Keys(kinds))
	for i, a := range sorted {
		for _, b := range sorted[i+1:] {
			c.together[[2]string{a, b}]++
		}
	}
}

// deepest is how deep fields of Istio's kinds are looked for.
const deepest = 5

// fieldsOf lists the paths of all fields of a kind of Istio's, as [Object.fields] spells them.
func fieldsOf(kind string) []string {
	var found []string
	var visit func(m protoreflect.MessageDescriptor, path string, depth int)
	visit = func(m protoreflect.MessageDescriptor, path string, depth int) {
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			here := path + "." + f.JSONName()
			switch {
			case f.IsMap():
				found = append(found, here+".*")
			case f.Message() == nil || strings.HasPrefix(string(f.Message().FullName()), "google.protobuf."):
				found = append(found, here)
			case depth < deepest:
				visit(f.Message(), here, depth+1)
			}
		}
	}
	visit(messageOf(kind).ProtoReflect().Descriptor(), "spec", 1)
	return found
}

// String prints how often each field was set, and what was never reached.
func (c Coverage) String() string {
	var b strings.Builder
	for _, kind := range slices.Sorted(maps.Keys(c.fields)) {
		fmt.Fprintf(&b, "%s, fields set in accepted objects:", kind)
		for _, f := range slices.Sorted(maps.Keys(c.fields[kind])) {
			fmt.Fprintf(&b, " %s=%d", f, c.fields[kind][f])
		}
		b.WriteString("\n")
		if messageOf(kind) == nil {
			continue
		}
		all := fieldsOf(kind)
		never := slices.DeleteFunc(slices.Clone(all), func(f string) bool { return c.fields[kind][f] > 0 || c.fields[kind][strings.TrimSuffix(f, ".*")] > 0 })
		fmt.Fprintf(&b, "%s, never set, %d of %d: %s\n", kind, len(never), len(all), strings.Join(never, " "))
	}
	for _, kind := range slices.Sorted(maps.Keys(c.fields)) {
		c.never(&b, kind)
	}
	kinds := slices.Compact(slices.Sorted(slices.Values(istioKinds())))
	for i, x := range kinds {
		for _, y := range kinds[i+1:] {
			if c.together[[2]string{x, y}] == 0 {
				fmt.Fprintf(&b, "never accepted together: %s and %s\n", x, y)
			}
		}
	}
	return b.String()
}

// never prints which pairs of fields that were set did not come in one object of a kind, those first whose fields came
// most often by themselves.
func (c Coverage) never(b *strings.Builder, kind string) {
	fields := slices.Sorted(maps.Keys(c.fields[kind]))
	var missing [][2]string
	all := 0
	for i, f := range fields {
		for _, g := range fields[i+1:] {
			pair := [2]string{f, g}
			if apart(pair) {
				continue
			}
			if all++; c.pairs[kind][pair] == 0 {
				missing = append(missing, pair)
			}
		}
	}
	often := func(pair [2]string) int { return c.fields[kind][pair[0]] * c.fields[kind][pair[1]] }
	slices.SortStableFunc(missing, func(x, y [2]string) int { return often(y) - often(x) })
	fmt.Fprintf(b, "%s, pairs of fields never in one object, %d of %d:", kind, len(missing), all)
	for _, pair := range missing[:min(len(missing), mostPairs)] {
		fmt.Fprintf(b, " %s with %s;", pair[0], pair[1])
	}
	b.WriteString("\n")
}

// apart reports whether two fields cannot come in one object that is written: an empty message and a field of it, and a
// status and the rest.
func apart(pair [2]string) bool {
	const status = "status."
	return strings.HasPrefix(pair[1], pair[0]+".") || strings.HasPrefix(pair[0], status) != strings.HasPrefix(pair[1], status)
}

// mostPairs is how many pairs of a kind are printed.
const mostPairs = 40
