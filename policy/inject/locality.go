package inject

import (
	"maps"
	"slices"

	"github.com/meshfence/meshfence/policy"
)

// Distribute returns the distribute list that keeps each cluster's clients in its localities. With one
// cluster every client of this control plane is in it. With several there is one entry for each locality,
// and a closing one that gives clients of unknown locality nothing, so that they fail closed (catalogue
// section 2.2).
func Distribute(config *policy.Config) []policy.Distribute {
	if len(config.Clusters) == 1 {
		return []policy.Distribute{{From: "*", To: shares(config.Localities[config.Clusters[0]])}}
	}
	var list []policy.Distribute
	for _, cluster := range config.Clusters {
		localities := config.Localities[cluster]
		for _, from := range localities {
			list = append(list, policy.Distribute{From: from, To: shares(localities)})
		}
	}
	return append(list, policy.Distribute{From: "*", To: map[string]int64{"none/none/none": 100}})
}

// shares splits 100 percent evenly; what does not divide goes to the first.
func shares(localities []string) map[string]int64 {
	n := int64(len(localities))
	to := make(map[string]int64, n)
	for i, l := range localities {
		to[l] = 100 / n
		if int64(i) < 100%n {
			to[l]++
		}
	}
	return to
}

func equalDistribute(a, b []policy.Distribute) bool {
	return slices.EqualFunc(a, b, func(x, y policy.Distribute) bool { return x.From == y.From && maps.Equal(x.To, y.To) })
}

// distributeValue is the list as an edit holds it.
func distributeValue(list []policy.Distribute) []any {
	value := make([]any, len(list))
	for i, d := range list {
		to := make(map[string]any, len(d.To))
		for locality, weight := range d.To {
			to[locality] = weight
		}
		value[i] = map[string]any{"from": d.From, "to": to}
	}
	return value
}
