package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxLocalities is how many localities can share the weight of 100 per cent, of which each needs one.
const maxLocalities = 100

// checkLocalities demands what Istio demands of the localities of a distribute (validateLocalities in its
// pkg/config/validation/agent), over all clusters of the mesh at once.
func (d *document) checkLocalities(c *Config) {
	type place struct{ locality, cluster string }
	var seen []place
	for _, cluster := range slices.Sorted(maps.Keys(c.Localities)) {
		field := "localities." + cluster
		list := c.Localities[cluster]
		d.checkCluster(field, cluster)
		d.check(0 < len(list) && len(list) <= maxLocalities, field, "must list 1 to %d localities", maxLocalities)
		for i, locality := range list[:min(len(list), maxLocalities)] {
			at := fmt.Sprintf("%s[%d]", field, i)
			if !isLocality(locality) {
				d.add(at, fmt.Sprintf("%q must be region, region/zone or region/zone/subzone, "+
					"with a wildcard only as its last part", locality))
				continue
			}
			if j := slices.IndexFunc(seen, func(p place) bool { return localitiesOverlap(p.locality, locality) }); j >= 0 {
				d.add(at, fmt.Sprintf("%q must not overlap %q of cluster %s", locality, seen[j].locality, seen[j].cluster))
			}
			seen = append(seen, place{locality, cluster})
		}
	}
}

func isLocality(locality string) bool {
	parts := strings.Split(locality, "/")
	last := len(parts) - 1
	if parts[last] == "*" && last > 0 {
		parts[last] = "any"
	}
	return last < 3 && !slices.Contains(parts, "") && !strings.Contains(strings.Join(parts, ""), "*")
}

// HasLocality reports whether region/zone/subzone is in a locality of a control plane cluster. Which of several
// clusters an object is in, nobody can tell from it.
func (c *Config) HasLocality(locality string) bool {
	for _, cluster := range c.Clusters {
		shares, err := c.Shares(cluster)
		if err != nil {
			continue // what nobody knows covers nothing
		}
		for l := range shares {
			if localityCovers(l, locality) {
				return true
			}
		}
	}
	return false
}

// OtherCluster returns a cluster that is none of the control plane's and that the FenceConfig gives every place of a
// locality, as a distribute writes it; ok is false where it gives them to none.
func (c *Config) OtherCluster(locality string) (cluster string, ok bool) {
	for _, cluster := range slices.Sorted(maps.Keys(c.Localities)) {
		covers := func(l string) bool { return localityCovers(l, locality) }
		if !slices.Contains(c.Clusters, cluster) && slices.ContainsFunc(c.Localities[cluster], covers) {
			return cluster, true
		}
	}
	return "", false
}

// localityCovers follows Istio's own rule, by which what the locality leaves out is a wildcard
// (LocalityMatch in its pilot/pkg/networking/util/util.go).
func localityCovers(locality, place string) bool {
	parts := strings.Split(place, "/")
	for i, part := range strings.Split(locality, "/") {
		if part != "*" && (i >= len(parts) || parts[i] != part) {
			return false
		}
	}
	return true
}

// localitiesOverlap reports whether an endpoint can stand in both localities.
func localitiesOverlap(a, b string) bool {
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := range min(len(as), len(bs)) {
		if as[i] == "*" || bs[i] == "*" {
			return true
		}
		if as[i] != bs[i] {
			return false
		}
	}
	return true
}
