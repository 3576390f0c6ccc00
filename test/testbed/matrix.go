package testbed

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
)

// Matrix collects results by column and row; columns come in the order of their first result. Its zero value is empty.
type Matrix struct {
	mu            sync.Mutex
	columns, rows []string
	results       map[[2]string]string
}

// Add records a result; text is what a test that did not fail has shown.
func (m *Matrix) Add(column, row, text string, ok bool) {
	if !ok {
		text = "FAILED"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !slices.Contains(m.columns, column) {
		m.columns = append(m.columns, column)
	}
	if !slices.Contains(m.rows, row) {
		m.rows = append(m.rows, row)
	}
	if m.results == nil {
		m.results = map[[2]string]string{}
	}
	m.results[[2]string{column, row}] = text
}

// String returns a table with numbers for the columns, which are listed below it.
func (m *Matrix) String() string {
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for i := range m.columns {
		fmt.Fprintf(table, "\t%d", i+1)
	}
	for _, row := range slices.Sorted(slices.Values(m.rows)) {
		fmt.Fprintf(table, "\n%s", row)
		for _, column := range m.columns {
			fmt.Fprintf(table, "\t%s", cmp.Or(m.results[[2]string{column, row}], "-"))
		}
	}
	table.Flush() // a strings.Builder does not fail
	for i, column := range m.columns {
		fmt.Fprintf(&b, "\n%d: %s", i+1, column)
	}
	return b.String()
}
