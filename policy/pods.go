package policy

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// PodQuestion asks whether there is a Pod. No index holds Pods: a view asks, and whoever has it answers with
// [View.LoadPods] and asks again.
type PodQuestion struct {
	// Namespace is that of the Pod; empty for any.
	Namespace string
	// Selector is a label selector; empty for any labels.
	Selector string
	// Address is that of the Pod; empty for any.
	Address string
}

// maxPodQuestions bounds what one view asks. What goes beyond counts as answered with no.
const maxPodQuestions = 16

// hasPod reports whether a Pod of the Namespace has all labels, which are key=value. Until that is answered none has.
func (v *View) hasPod(namespace string, labels ...string) bool {
	slices.Sort(labels)
	return v.podExists(PodQuestion{Namespace: namespace, Selector: strings.Join(labels, ",")})
}

// PodAt reports whether a Pod has an address. Until that is answered none has.
func (v *View) PodAt(address netip.Addr) bool {
	return v.podExists(PodQuestion{Address: address.String()})
}

func (v *View) podExists(q PodQuestion) bool {
	exists, answered := v.pods[q]
	if !answered && len(v.pods)+len(v.missingPods) < maxPodQuestions {
		put(&v.missingPods, q, true)
	}
	return exists
}

// MissingPods lists what was asked for and is not answered, sorted.
func (v *View) MissingPods() []PodQuestion {
	return slices.SortedFunc(maps.Keys(v.missingPods), func(a, b PodQuestion) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Selector, b.Selector), strings.Compare(a.Address, b.Address))
	})
}

// LoadPods answers a question.
func (v *View) LoadPods(q PodQuestion, exists bool) {
	put(&v.pods, q, exists)
	delete(v.missingPods, q)
}

// Pod is what questions are about.
type Pod struct {
	Namespace string
	Labels    labels.Set
	// Address is the first of its addresses; empty where it has none.
	Address string
}

// Pods are those that exist.
type Pods []Pod

// AnswerPods answers every question by Pods, which are all that exist, and reports whether there was one.
func (v *View) AnswerPods(pods Pods) bool {
	questions := v.MissingPods()
	for _, q := range questions {
		selector, err := labels.Parse(q.Selector)
		v.LoadPods(q, err == nil && slices.ContainsFunc(pods, func(p Pod) bool {
			return (q.Namespace == "" || q.Namespace == p.Namespace) && (q.Address == "" || q.Address == p.Address) && selector.Matches(p.Labels)
		}))
	}
	return len(questions) > 0
}
