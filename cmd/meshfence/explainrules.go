package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/meshfence/meshfence/policy/leak"
)

// writeRules prints every rule, and then every row of the catalogue with its verdict.
func writeRules(out io.Writer) error {
	for _, r := range leak.Rules() {
		fmt.Fprintf(out, "%s (%s)\n", r.ID, r.Severity)
		for _, line := range []struct{ name, value string }{
			{"kinds", strings.Join(r.Kinds, ", ")}, {"rows", strings.Join(r.Rows, ", ")}, {"silent under", r.Silence()},
			{"otherwise", r.Leaks}, {"instead", r.Mend}, {"or", r.Loosen},
		} {
			if line.value != "" {
				fmt.Fprintf(out, "  %-12s  %s\n", line.name, line.value)
			}
		}
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nROW\tSTOPPED BY\tMENDED FOR\tWHAT LETS TRAFFIC OUT\tVERDICT")
	for _, e := range leak.Ledger(leak.Rules()) {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", e.ID, cmp.Or(e.Stops.String(), "-"), cmp.Or(e.Repairs.String(), "-"), e.What, e.Verdict())
	}
	return table.Flush()
}
