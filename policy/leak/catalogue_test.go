package leak_test

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// rowIDs lists the ids of docs/catalogue.md.
func rowIDs() []string {
	var ids []string
	for _, group := range []struct {
		letter string
		rows   int
	}{{"A", 6}, {"B", 19}, {"C", 17}, {"D", 18}, {"E", 20}, {"F", 11}, {"G", 4}, {"H", 5}, {"I", 11}, {"J", 0}, {"K", 3}, {"L", 9}} {
		if group.rows == 0 {
			ids = append(ids, group.letter)
		}
		for i := range group.rows {
			id := fmt.Sprint(group.letter, i+1)
			if id == "E12" {
				ids = append(ids, "E12a", "E12b", "E12c")
				continue
			}
			ids = append(ids, id)
		}
	}
	return ids
}

func TestCatalogue(t *testing.T) {
	t.Parallel()
	var got []string
	shown := regexp.MustCompile(`^[a-z0-9/]+ Test[A-Za-z]+(/[a-z0-9-]+)*$`)
	for _, row := range leak.Catalogue() {
		got = append(got, row.ID)
		if row.What == "" {
			t.Errorf("%s says nothing", row.ID)
		}
		if row.Stops.Intersects(row.Repairs) {
			t.Errorf("%s: a hold that stops it (%s) has nothing to repair (%s)", row.ID, row.Stops, row.Repairs)
		}
		if row.Harmless && row.Reason == "" {
			t.Errorf("%s is harmless for no reason", row.ID)
		}
		for _, test := range row.Shown {
			if !shown.MatchString(test) {
				t.Errorf("%s is shown by %q, which must be a package and a function", row.ID, test)
			}
		}
	}
	if diff := cmp.Diff(rowIDs(), got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
}

func TestRulesNameRows(t *testing.T) {
	t.Parallel()
	for _, r := range leak.Rules() {
		for i, id := range r.Rows {
			if !slices.Contains(rowIDs(), id) || slices.Contains(r.Rows[:i], id) {
				t.Errorf("%s names row %s, which must be in the catalogue, once", r.ID, id)
			}
		}
	}
}

// TestEveryRowIsClosed: holds stop or repair a row whichever of them are active, or a rule judges it, or there is
// a reason why nothing more is needed or possible.
func TestEveryRowIsClosed(t *testing.T) {
	t.Parallel()
	judged := map[string]bool{}
	for _, r := range leak.Rules() {
		for _, id := range r.Rows {
			judged[id] = true
		}
	}
	for _, row := range leak.Catalogue() {
		held := row.Stops|row.Repairs == policy.HoldsOf(policy.MeshConfig, policy.Locality, policy.Subset)
		if held || judged[row.ID] || row.Reason != "" {
			continue
		}
		t.Errorf("%s is open: %s", row.ID, row.What)
	}
}

// TestPageHasEveryRow: docs/catalogue.md says how each row works, in the same order.
func TestPageHasEveryRow(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/catalogue.md")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, match := range regexp.MustCompile(`(?m)^\| <a id="[a-z0-9]+"></a>([A-L][0-9]*[a-c]?) \|`).FindAllStringSubmatch(string(page), -1) {
		got = append(got, match[1])
	}
	if diff := cmp.Diff(rowIDs(), got); diff != "" {
		t.Errorf("rows of the page (-want +got):\n%s", diff)
	}
}
