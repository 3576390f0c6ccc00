package policy

import (
	"fmt"
	"maps"
	"slices"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// Suppose makes the view take every Service that is absent for a strict one, and every class and Gateway that is absent
// for that of another controller than Istio: the best that may become of them. What is exempt stays so.
func (v *View) Suppose() { v.supposing = true }

// LoadAbsent tells the view that a missing Service does not exist.
func (v *View) LoadAbsent(host hostname.Host) {
	v.LoadService(host, nil)
	put(&v.absent, host, true)
}

// Absent names what was asked for and does not exist, sorted by kind.
func (v *View) Absent() []string {
	var names []string
	for _, host := range slices.SortedFunc(maps.Keys(v.absent), hostname.Host.Compare) {
		names = append(names, fmt.Sprintf("%s %s/%s", object.KindService, host.Namespace, host.Name))
	}
	for _, k := range slices.SortedFunc(maps.Keys(v.objects), object.Key.Compare) {
		switch {
		case v.objects[k] != nil:
		case k.Namespace == "":
			names = append(names, object.APIKind(k.Kind)+" "+k.Name)
		default:
			names = append(names, fmt.Sprintf("%s %s/%s", object.APIKind(k.Kind), k.Namespace, k.Name))
		}
	}
	return names
}

// supposed returns what is decided of a Service, or what the view supposes.
func (v *View) supposed(h hostname.Host, r ranked, exempt bool) ranked {
	if v.supposing && v.absent[h] && !exempt {
		r.decision.Fence = Strict
	}
	return r
}
