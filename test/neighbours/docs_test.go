package neighbours_test

import (
	"os"
	"strings"
	"testing"
)

// TestDocs holds the settings of docs/gitops.md to those that the rows use.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile("../../docs/gitops.md")
	if err != nil {
		t.Fatal(err)
	}
	var settings []string
	for kind, expression := range argoIgnored() {
		settings = append(settings, "kind: "+kind+"\n          jqPathExpressions:\n          - '"+expression+"'")
	}
	for part := range strings.SplitSeq(strings.TrimPrefix(flaggerFenced, ", "), ", ") {
		settings = append(settings, "          "+part+"\n")
	}
	for _, s := range settings {
		if !strings.Contains(string(data), s) {
			t.Errorf("docs/gitops.md lacks %q", s)
		}
	}
}
