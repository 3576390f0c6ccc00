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
	for _, step := range p {
		_, err := strconv.Atoi(step)
		switch {
		case err == nil || strings.ContainsAny(step, "./"):
			b.WriteString("[" + step + "]")
		case b.Len() > 0:
			b.WriteString("." + step)
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
	x, errA := strconv.Atoi(a)
	y, errB := strconv.Atoi(b)
	if errA == nil && errB == nil {
		return cmp.Compare(x, y)
	}
	return strings.Compare(a, b)
}
