package inject

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// record says which parts of a DestinationRule admission added, by the names of subsets and levels, so that
// they can be taken back when nothing needs them any more. It is the value of policy.InjectedAnnotation.
type record struct {
	// Labels maps a subset to the cluster label that it was given.
	Labels           map[string]string `json:"labels,omitempty"`
	Distribute       []string          `json:"distribute,omitempty"`
	FailoverPriority []string          `json:"failoverPriority,omitempty"`
	OutlierDetection []string          `json:"outlierDetection,omitempty"`
	Suppress         bool              `json:"analyzeSuppress,omitempty"`
}

// parseRecord reads a record. One that a person has spoilt counts as empty: then what stands in the object
// is taken for that person's own.
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

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

func splitList(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}
