package policy

import (
	"cmp"
	"maps"
	"slices"
)

// Shares says how much of the traffic goes to each locality, in percent: at least 1 each, 100 in all.
type Shares map[string]int64

// Shares returns those of a control plane cluster, which must not be changed. What the FenceConfig lists
// counts evenly. The error is a *LocalityError, or what WithoutShares was given.
func (c *Config) Shares(cluster string) (Shares, error) {
	switch {
	case !c.NeedsNodes():
		counts := map[string]int{}
		for _, locality := range c.Localities[cluster] {
			counts[locality] = 1
		}
		return percentages(counts), nil
	case c.nodeError != nil:
		return nil, c.nodeError
	case c.nodeShares == nil:
		return nil, c.unknownLocalities("its Nodes have not been read")
	}
	return c.nodeShares, nil
}

// percentages returns the shares of 1 to 100 counts. What rounding down leaves goes to the largest remainders,
// and then to the first names; what the least ones get too much comes from the largest.
func percentages(counts map[string]int) Shares {
	all := 0
	for _, n := range counts {
		all += n
	}
	shares, left := make(Shares, len(counts)), int64(100)
	for name, n := range counts {
		shares[name] = max(1, int64(n)*100/int64(all))
		left -= shares[name]
	}
	names := slices.Sorted(maps.Keys(counts))
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(counts[b]*100%all, counts[a]*100%all) })
	for _, name := range names {
		if left > 0 && int64(counts[name])*100 >= int64(all) { // the others were rounded up
			shares[name]++
			left--
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(counts[a], counts[b]) })
	for ; left < 0; left++ {
		largest := slices.MaxFunc(names, func(a, b string) int { return cmp.Compare(shares[a], shares[b]) })
		shares[largest]--
	}
	return shares
}
