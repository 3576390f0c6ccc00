package policy_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
)

// byNodes is a config of cluster m1c1 whose localities come from its Nodes, with those of others.
func byNodes(t testing.TB, others string) *policy.Config {
	t.Helper()
	return parse(t, strings.Replace(minimal, "meshConfig", "locality", 1)+"localities: {"+others+"}\n")
}

// at returns the NodeLocality of region/zone/subzone, any of which may be missing.
func at(locality string) policy.NodeLocality {
	parts := append(strings.Split(locality, "/"), "", "")
	return policy.NodeLocality{Region: parts[0], Zone: parts[1], Subzone: parts[2]}
}

func nodesAt(counts map[string]int) policy.NodeLocalities {
	nodes := policy.NodeLocalities{}
	for locality, n := range counts {
		nodes[at(locality)] = n
	}
	return nodes
}

func TestNodeLocalityOf(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		labels map[string]string
		want   policy.NodeLocality
	}{
		"none": {nil, policy.NodeLocality{}},
		"all": {map[string]string{"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z", "topology.istio.io/subzone": "s"},
			policy.NodeLocality{Region: "r", Zone: "z", Subzone: "s"}},
		"legacy": {map[string]string{"failure-domain.beta.kubernetes.io/region": "r", "failure-domain.beta.kubernetes.io/zone": "z"},
			policy.NodeLocality{Region: "r", Zone: "z"}},
		"both": {map[string]string{
			"topology.kubernetes.io/region": "r", "failure-domain.beta.kubernetes.io/region": "old",
			"topology.kubernetes.io/zone": "", "failure-domain.beta.kubernetes.io/zone": "z"},
			policy.NodeLocality{Region: "r", Zone: "z"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := policy.NodeLocalityOf(tc.labels); got != tc.want {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
			for key := range tc.labels {
				if !slices.Contains(policy.NodeLocalityLabels(), key) {
					t.Errorf("%s must be listed", key)
				}
			}
		})
	}
}

func TestNodeShares(t *testing.T) {
	t.Parallel()
	many := map[string]int{}
	for i := range 101 {
		many[fmt.Sprintf("r/z%d/s", i)] = 1
	}
	tests := map[string]struct {
		nodes  map[string]int
		others string
		want   policy.Shares
		// reason is that of the error.
		reason string
	}{
		"one region": {map[string]int{"r1/a/s": 3, "r1/b/s": 1}, "m1c2: [r2]", policy.Shares{"r1/*": 100}, ""},
		"two regions": {map[string]int{"r1/a/s": 2, "r1/b": 1, "r3": 1}, "m1c2: [r2/*]",
			policy.Shares{"r1/*": 75, "r3/*": 25}, ""},
		"zones of a shared region": {map[string]int{"r1/a/s": 1, "r1/a/t": 1, "r1/b": 1}, "m1c2: [r1/c]",
			policy.Shares{"r1/a/*": 67, "r1/b/*": 33}, ""},
		"one zone of a shared region": {map[string]int{"r1/a/s": 1, "r1/a": 4}, "m1c2: [r1/c/x]", policy.Shares{"r1/a/*": 100}, ""},
		"subzones":                    {map[string]int{"r/z/m1c1": 5}, "m1c2: [r/z/m1c2]", policy.Shares{"r/z/m1c1": 100}, ""},
		"subzones in some zones": {map[string]int{"r/y/m1c1": 1, "r/z/m1c1": 1, "q/z/m1c1": 1}, "m1c2: [r/z/m1c2], m1c3: [r/x]",
			policy.Shares{"r/y/*": 33, "r/z/m1c1": 33, "q/*": 34}, ""},
		"nobody else is named": {map[string]int{"r/y/s": 1, "r/z/s": 1, "r/z/t": 2}, "",
			policy.Shares{"r/y/s": 25, "r/z/s": 25, "r/z/t": 50}, ""},
		"nobody else is named, parts are missing": {map[string]int{"r/y/s": 1, "r/y": 1, "r/z/s": 1, "q/z": 1, "q": 1}, "",
			policy.Shares{"r/y/*": 40, "r/z/s": 20, "q/*": 40}, ""},
		"a share below one percent": {map[string]int{"r1/a": 999, "r2/a": 1}, "m1c2: [r3]", policy.Shares{"r1/*": 99, "r2/*": 1}, ""},
		"shares below one percent": {map[string]int{"r1": 996, "r2": 1, "r4": 1, "r5": 1, "r6": 1}, "m1c2: [r3]",
			policy.Shares{"r1/*": 96, "r2/*": 1, "r4/*": 1, "r5/*": 1, "r6/*": 1}, ""},
		"no Nodes": {nil, "m1c2: [r2]", nil, "it has no Nodes"},
		"no region": {map[string]int{"r1/a": 1, "/a/s": 2, "": 2}, "m1c2: [r2]", nil,
			"4 of its 5 Nodes have no label topology.kubernetes.io/region"},
		"shared region": {map[string]int{"r1/a/s": 1, "r3": 1}, "m1c2: [r1/*]", nil,
			`it has Nodes in "r1/a/s", which overlaps "r1/*" of cluster m1c2`},
		"shared zone without subzone": {map[string]int{"r1/a": 1, "r1/b": 1}, "m1c2: [r1/c], m1c3: [r1/b/m1c3]", nil,
			`it has Nodes in "r1/b/*", which overlaps "r1/b/m1c3" of cluster m1c3`},
		"shared region without zone": {map[string]int{"r1//s": 1}, "m1c2: [r1/c]", nil,
			`it has Nodes in "r1/*", which overlaps "r1/c" of cluster m1c2`},
		"shared subzone": {map[string]int{"r/z/s": 1}, "m1c2: [r/z/s]", nil, `it has Nodes in "r/z/s", which overlaps "r/z/s" of cluster m1c2`},
		"too many":       {many, "", nil, "its Nodes are in 101 localities, and traffic can be shared among 100"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := byNodes(t, tc.others).NodeShares(nodesAt(tc.nodes))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("shares (-want +got):\n%s", diff)
			}
			var reason string
			if unknown, ok := errors.AsType[*policy.LocalityError](err); ok {
				reason = unknown.Reason
				if want := `the localities of cluster "m1c1" are not known: ` + reason; unknown.Error() != want {
					t.Errorf("got %q, want %q", unknown, want)
				}
			}
			if reason != tc.reason || (err == nil) != (reason == "") {
				t.Errorf("got %v, want the reason %q", err, tc.reason)
			}
		})
	}
}

// TestNodeSharesProperties tries random Nodes and random other clusters: the shares add up to 100, each Node is covered
// once, no endpoint of another cluster is covered, the larger part has no smaller share, and the order does not count.
// Whether a locality covers an endpoint is Istio's own rule, written down once more.
func TestNodeSharesProperties(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	known := 0
	for range 20_000 {
		nodes := policy.NodeLocalities{}
		for range 1 + random.IntN(6) {
			nodes[at(place(random, 3))] += 1 + random.IntN(200)
		}
		var theirs []string
		for range random.IntN(3) {
			theirs = append(theirs, place(random, 1+random.IntN(3)))
		}
		others := ""
		if theirs = slices.Compact(slices.Sorted(slices.Values(theirs))); len(theirs) > 0 {
			others = "m1c2: [" + theirs[0] + "]"
		}
		config := byNodes(t, others)
		shares, err := config.NodeShares(nodes)
		if err != nil {
			continue
		}
		known++
		checkShares(t, nodes, shares)
		if len(theirs) > 0 && (slices.ContainsFunc(slices.Collect(maps.Keys(shares)), func(l string) bool { return covers(l, at(theirs[0])) }) || config.Shared(shares)) {
			t.Fatalf("%v of %v cover %s of the other cluster", shares, nodes, theirs[0])
		}
		if again, err := config.NodeShares(maps.Clone(nodes)); err != nil || !maps.Equal(again, shares) {
			t.Fatalf("%v gave %v and then %v, %v", nodes, shares, again, err)
		}
	}
	if known < 1000 {
		t.Errorf("only %d of the tries gave shares", known)
	}
}

// place returns a locality of that many parts.
func place(random *rand.Rand, parts int) string {
	var names []string
	for _, prefix := range []string{"r", "z", "s"}[:parts] {
		names = append(names, fmt.Sprint(prefix, random.IntN(3)))
	}
	return strings.Join(names, "/")
}

// covers is LocalityMatch of Istio's pilot/pkg/networking/util.
func covers(locality string, node policy.NodeLocality) bool {
	rule := at(locality)
	return (rule.Region == "*" || rule.Region == node.Region) &&
		(rule.Zone == "*" || rule.Zone == "" || rule.Zone == node.Zone) &&
		(rule.Subzone == "*" || rule.Subzone == "" || rule.Subzone == node.Subzone)
}

func checkShares(t *testing.T, nodes policy.NodeLocalities, shares policy.Shares) {
	t.Helper()
	sum, counts := int64(0), map[string]int{}
	for locality, share := range shares {
		sum += share
		if share < 1 {
			t.Fatalf("%v of %v: %s has %d", shares, nodes, locality, share)
		}
	}
	for node, n := range nodes {
		var by []string
		for locality := range shares {
			if covers(locality, node) {
				by = append(by, locality)
				counts[locality] += n
			}
		}
		if len(by) != 1 {
			t.Fatalf("%v of %v: %+v is covered by %v", shares, nodes, node, by)
		}
	}
	for a, share := range shares {
		for b, other := range shares {
			if counts[a] > counts[b] && share < other {
				t.Fatalf("%v of %v: %s has more Nodes than %s", shares, nodes, a, b)
			}
		}
	}
	if sum != 100 {
		t.Fatalf("%v of %v: the sum is %d", shares, nodes, sum)
	}
}

func TestShares(t *testing.T) {
	t.Parallel()
	config := byNodes(t, "m1c2: [r2]")
	if _, err := config.Shares("m1c1"); err == nil || !strings.Contains(err.Error(), "its Nodes have not been read") {
		t.Errorf("before the Nodes are read: %v", err)
	}
	nodes := policy.Shares{"r1/*": 100}
	with := config.WithShares(nodes)
	nodes["r1/*"] = 1 // what is built does not change
	if got, err := with.Shares("m1c1"); err != nil || !maps.Equal(got, policy.Shares{"r1/*": 100}) {
		t.Errorf("with shares: %v, %v", got, err)
	}
	if _, err := with.WithoutShares(&policy.LocalityError{Cluster: "m1c1", Reason: "gone"}).Shares("m1c1"); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("without shares: %v", err)
	}
	if _, err := config.Shares("m1c1"); err == nil {
		t.Error("the config itself has changed")
	}
	listed := byNodes(t, "m1c1: [r1/c, r1/a, r1/b]")
	if got, err := listed.Shares("m1c1"); err != nil || !maps.Equal(got, policy.Shares{"r1/a": 34, "r1/b": 33, "r1/c": 33}) {
		t.Errorf("listed: %v, %v", got, err)
	}
	if !config.Shared(policy.Shares{"r1/*": 50, "r2/z": 50}) || config.Shared(policy.Shares{"r1/*": 100}) {
		t.Error("r2/z must be shared, and r1/* must not")
	}
	for text, want := range map[string]bool{
		"holds: [locality]":                          true,
		"holds: [subset]":                            false,
		"holds: [locality]\nlocalities: {m1c1: [r]}": false,
		"holds: [locality]\nlocalities: {m1c2: [r]}": true,
	} {
		if got := parse(t, strings.Replace(minimal, "holds: [meshConfig]", text, 1)).NeedsNodes(); got != want {
			t.Errorf("%q needs Nodes: %t, want %t", text, got, want)
		}
	}
}

// TestHasLocality: what the Nodes say counts as what is listed does, and what is listed for another cluster does not.
func TestHasLocality(t *testing.T) {
	t.Parallel()
	const others = "m1c2: [us/*]"
	unread := byNodes(t, others)
	for name, test := range map[string]struct {
		config *policy.Config
		place  string
		want   bool
	}{
		"of the Nodes":       {unread.WithShares(policy.Shares{"eu/a/*": 100}), "eu/a/s", true},
		"beside the Nodes":   {unread.WithShares(policy.Shares{"eu/a/*": 100}), "eu/b/s", false},
		"not read yet":       {unread, "eu/a/s", false},
		"another cluster":    {unread.WithShares(policy.Shares{"eu/a/*": 100}), "us/a/s", false},
		"listed":             {byNodes(t, "m1c1: [eu/*], "+others), "eu/a/s", true},
		"listed for another": {byNodes(t, "m1c1: [eu/*], "+others), "us/a/s", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := test.config.HasLocality(test.place); got != test.want {
				t.Errorf("HasLocality(%q) = %t, want %t", test.place, got, test.want)
			}
		})
	}
}
