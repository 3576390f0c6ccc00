package object

import (
	"cmp"
	"strconv"
	"strings"
)

// Path leads from the root of an object to a field: names of fields and keys of mappings, and indexes of lists as decimal
// numbers.
type Path []string

// String writes a path as Kubernetes does, with list indexes and keys that are no plain words in brackets:
// spec.subsets[1].labels[topology.istio.io/cluster].
func (p Path) String() string {
	var b strings.Builder
	const usualStep = 16
	b.Grow(usualStep * len(p))
	for _, step := range p {
		_, item := index(step)
		switch {
		case item || strings.ContainsAny(step, "./"):
			b.WriteByte('[')
			b.WriteString(step)
			b.WriteByte(']')
		case b.Len() > 0:
			b.WriteByte('.')
			b.WriteString(step)
		default:
			b.WriteString(step)
		}
	}
	return b.String()
}

// Compare orders paths step by step, list indexes by number.
func (p Path) Compare(other Path) int {
	for i := range min(len(p), len(other)) {
		if c := compareSteps(p[i], other[i]); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(p), len(other))
}

func compareSteps(a, b string) int {
	x, itemA := index(a)
	y, itemB := index(b)
	if itemA && itemB {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}

// index reads a step as the index of an item. Most steps are names, for which it makes no error as strconv does.
func index(step string) (i int, ok bool) {
	if step == "" || step[0] > '9' {
		return 0, false
	}
	i, err := strconv.Atoi(step)
	return i, err == nil
}
