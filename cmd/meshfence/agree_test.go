package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/suite"
)

// TestCheckAgrees: what the cases of the rules expect of the creation of an object, check finds in a manifest of it among
// those of its scene.
func TestCheckAgrees(t *testing.T) {
	t.Parallel()
	cases, err := suite.Load(os.DirFS(filepath.Join("..", "..", "policy", "leak", "testdata")))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.Old != nil || c.Operation != "" || c.Writer != "" {
			continue // check knows neither what was there before nor who writes
		}
		t.Run(c.Suite()+"/"+c.Title, func(t *testing.T) {
			t.Parallel()
			var input bytes.Buffer
			for _, d := range slices.Concat(c.Scene, []suite.Document{c.Object}) {
				input.Write(d.JSON)
				input.WriteString("\n---\n")
			}
			flags := sceneFlags{paths: []string{stdin}, namespace: "default", inline: c.Config, inlineSource: "config"}
			judged, err := flags.judge(&input)
			if err != nil {
				t.Fatal(err)
			}
			got := suite.Expectation{Outcome: c.Expect.Outcome, Rules: c.Expect.Rules, Fixed: c.Expect.Fixed}
			for _, f := range judged.findingsOf(judged.results[len(judged.results)-1]) {
				if f.denies() {
					got.Denied = append(got.Denied, suite.Text(f.Field(), f.Message()))
				} else {
					got.Warned = append(got.Warned, suite.Text(f.Field(), f.Message()))
				}
			}
			if diff := cmp.Diff(c.Expect, got); diff != "" {
				t.Errorf("%s:%d (-want +got):\n%s", c.File, c.Line, diff)
			}
		})
	}
}
