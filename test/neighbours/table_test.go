package neighbours_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// The hold sets that a row is run under, as a FenceConfig writes them.
const (
	byMesh     = "[meshConfig]"
	byBoth     = "[meshConfig, subset]"
	bySubset   = "[subset]"
	byLocality = "[locality]"
)

func holdSets() []string { return []string{byMesh, byBoth, bySubset, byLocality} }

// row is what one tool does, and what must come of it under each hold set.
type row struct {
	name string
	run  func(t *testing.T, b *bed) string
	want map[string]string
}

// always wants the same under every hold set.
func always(cell string) map[string]string {
	return map[string]string{byMesh: cell, byBoth: cell, bySubset: cell, byLocality: cell}
}

// alone wants one thing under hold subset alone, and another under every other set.
func alone(cell, others string) map[string]string {
	want := always(others)
	want[bySubset] = cell
	return want
}

func rows() []row {
	return slices.Concat(argoRows(), fluxRows(), helmRows(), rolloutRows(), flaggerRows())
}

// TestNeighbours runs every tool under every hold set, prints what came of it as a table, and fails where a cell is not
// what it must be.
func TestNeighbours(t *testing.T) {
	b, err := start()
	if err != nil {
		t.Fatal(err)
	}
	cells := map[string]map[string]string{}
	for _, holds := range holdSets() {
		b.hold(t, holds)
		for _, r := range rows() {
			t.Run(holds+"/"+r.name, func(t *testing.T) {
				got := r.run(t, b)
				if cells[r.name] == nil {
					cells[r.name] = map[string]string{}
				}
				cells[r.name][holds] = got
				if got != r.want[holds] {
					t.Errorf("%s, want %s", got, r.want[holds])
				}
			})
		}
	}
	if t.Failed() {
		t.Log(b.meshfence.Logs(20))
	}
	t.Logf("\n%s", table(cells))
}

// table prints the cells, a line for each row.
func table(cells map[string]map[string]string) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\t%s\n", strings.Join(holdSets(), "\t"))
	for _, r := range rows() {
		fmt.Fprint(w, r.name)
		for _, holds := range holdSets() {
			fmt.Fprintf(w, "\t%s", cells[r.name][holds])
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return text.String()
}
