package search

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Shrink returns the smallest world that it finds in which still holds: without steps, then without fields, then
// without what the base does not need.
func Shrink(w World, still func(World) bool) World {
	w = shrinkSteps(w, still)
	for i := range w.Steps {
		w = shrinkObject(w, i, still)
	}
	w = shrinkSteps(w, still)
	return shrinkBase(w, still)
}

func shrinkSteps(w World, still func(World) bool) World {
	for i := len(w.Steps) - 1; i >= 0 && len(w.Steps) > 1; i-- {
		smaller := w.clone()
		smaller.Steps = slices.Delete(smaller.Steps, i, i+1)
		if still(smaller) {
			w = smaller
		}
	}
	return w
}

// shrinkObject takes out fields of one object, the outermost first, as long as one can be taken out.
func shrinkObject(w World, i int, still func(World) bool) World {
	for _, path := range removable(w.Steps[i].Object) {
		smaller := w.clone()
		tree, ok := without(map[string]any(smaller.Steps[i].Object), path)
		if !ok {
			continue
		}
		smaller.Steps[i].Object, _ = tree.(map[string]any)
		if still(smaller) {
			w = smaller
		}
	}
	return w
}

// removable lists what can be taken out of an object: not its name, and nothing that the platform fills in. The last
// items of lists come first, so that the paths of the others stay what they were.
func removable(o Object) [][]string {
	return slices.DeleteFunc(places(map[string]any(o)), func(path []string) bool {
		switch path[0] {
		case "apiVersion", "kind":
			return true
		case "metadata":
			return len(path) < 3
		}
		kubernetes := o.Kind() == object.KindService || o.Kind() == object.KindPod || o.Kind() == object.KindEndpointSlice
		return len(path) < 2 || kubernetes && len(path) < 2
	})
}

func shrinkBase(w World, still func(World) bool) World {
	for i := len(w.Base.Services) - 1; i > 0; i-- { // the addresses of a Service come from its place
		if i < len(w.Base.Services)-1 {
			break
		}
		smaller := w.clone()
		smaller.Base.Services = smaller.Base.Services[:i]
		if still(smaller) {
			w = smaller
		}
	}
	for i := range w.Base.Services {
		for j := len(w.Base.Services[i].Ports) - 1; j >= 0 && len(w.Base.Services[i].Ports) > 1; j-- {
			smaller := w.clone()
			smaller.Base.Services[i].Ports = slices.Delete(slices.Clone(smaller.Base.Services[i].Ports), j, j+1)
			if still(smaller) {
				w = smaller
			}
		}
	}
	for i := range w.Base.Services {
		if w.Base.Services[i].Fence == "none" || w.Base.Services[i].Fence == "" && w.Base.Default == policy.None {
			continue
		}
		smaller := w.clone()
		smaller.Base.Services[i].Fence = "none"
		if still(smaller) {
			w = smaller
		}
	}
	return w
}
