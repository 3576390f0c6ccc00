package inject

import (
	"encoding/json"
	"fmt"

	"github.com/meshfence/meshfence/policy/object"
)

// record says which parts of a DestinationRule admission added, by the names of subsets and levels, so that
// they can be taken back when nothing needs them any more. It is the value of policy.InjectedAnnotation.
// What no longer has the recorded value is a user's own.
type record struct {
	// Labels maps a subset to the cluster label that it was given.
	Labels map[string]string `json:"labels,omitempty"`
	// Distribute is the list that levels were given.
	Distribute []object.Distribute `json:"distribute,omitempty"`
	Levels     map[string]added    `json:"levels,omitempty"`
	// Suppress reports whether IST0173 was added to the suppressed messages.
	Suppress bool `json:"analyzeSuppress,omitempty"`
}

// added is what one level was given.
type added struct {
	Distribute       bool `json:"distribute,omitempty"`
	FailoverPriority bool `json:"failoverPriority,omitempty"`
	OutlierDetection bool `json:"outlierDetection,omitempty"`
	// Replaced is a user's own distribute.
	Replaced []object.Distribute `json:"replaced,omitempty"`
	// Created says how many of localityLbSetting, loadBalancer and trafficPolicy were not there, in that
	// order. Istio tells an empty one from none.
	Created int `json:"created,omitempty"`
}

func (a added) any() bool { return a.Distribute || a.FailoverPriority || a.OutlierDetection }

// parseRecord reads a record. One that a user has spoilt counts as empty: then what is in the object
// is taken for that user's own.
func parseRecord(value string) record {
	var r record
	if json.Unmarshal([]byte(value), &r) != nil {
		return record{}
	}
	return r
}

// String returns the annotation's value; empty when there is nothing to record.
func (r record) String() string {
	data, err := json.Marshal(r)
	if err != nil || string(data) == "{}" {
		return ""
	}
	return string(data)
}

func (r *record) label(subset, cluster string) {
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	r.Labels[subset] = cluster
}

func (r *record) level(id string, a added) {
	if r.Levels == nil {
		r.Levels = map[string]added{}
	}
	r.Levels[id] = a
}

// names tells apart what shares a name, of which Istio reads only the first: the second v1 is "v1 #2".
type names map[string]int

func (n names) next(name string) string {
	n[name]++
	if n[name] == 1 {
		return name
	}
	return fmt.Sprintf("%s #%d", name, n[name])
}
