package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// PodQuestion asks whether a Namespace has a Pod with some labels. No index holds Pods: a view asks, and whoever has it
// answers with [View.LoadPods] and asks again.
type PodQuestion struct {
	Namespace string
	// Selector is a label selector.
	Selector string
}

// maxPodQuestions bounds what one view asks. What goes beyond counts as answered with no.
const maxPodQuestions = 16

// hasPod reports whether a Pod of the Namespace has all labels, which are key=value. Until that is answered none has.
func (v *View) hasPod(namespace string, labels ...string) bool {
	slices.Sort(labels)
	q := PodQuestion{namespace, strings.Join(labels, ",")}
	exists, answered := v.pods[q]
	if !answered && len(v.pods)+len(v.missingPods) < maxPodQuestions {
		put(&v.missingPods, q, true)
	}
	return exists
}

// MissingPods lists what was asked for and is not answered, sorted.
func (v *View) MissingPods() []PodQuestion {
	return slices.SortedFunc(maps.Keys(v.missingPods), func(a, b PodQuestion) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Selector, b.Selector))
	})
}

// LoadPods answers a question.
func (v *View) LoadPods(q PodQuestion, exists bool) {
	put(&v.pods, q, exists)
	delete(v.missingPods, q)
}

// Pods are the labels of Pods, by their namespaces.
type Pods map[string][]labels.Set

// AnswerPods answers every question by Pods, which are all that exist, and reports whether there was one.
func (v *View) AnswerPods(pods Pods) bool {
	questions := v.MissingPods()
	for _, q := range questions {
		selector, err := labels.Parse(q.Selector)
		v.LoadPods(q, err == nil && slices.ContainsFunc(pods[q.Namespace], func(set labels.Set) bool { return selector.Matches(set) }))
	}
	return len(questions) > 0
}
