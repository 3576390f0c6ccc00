package meshconfig

import (
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
)

// Runs says how many runs of hosts are read by themselves in a text, and what the parser makes of the whole text otherwise,
// but for comments, which nobody reads.
func Runs(text string) (runs int, diff string) {
	whole, wholeErr := wholeDocument(text)
	got, err := oneDocument(text)
	short, cut := cutRuns(text)
	if document, err := wholeDocument(short); err == nil && restoreRuns(&document, cut) {
		runs = len(cut)
	}
	if (err == nil) != (wholeErr == nil) || err != nil && err.Error() != wholeErr.Error() {
		return runs, cmp.Diff(wholeErr, err)
	}
	return runs, cmp.Diff(whole, got, cmpopts.IgnoreFields(yaml.Node{}, "HeadComment", "LineComment", "FootComment"))
}
