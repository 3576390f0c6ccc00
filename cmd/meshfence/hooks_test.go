package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sigsyaml "sigs.k8s.io/yaml"
)

// The hooks of pre-commit call commands as they are, and find a tree that is as it should be.
func TestPreCommitHooks(t *testing.T) {
	data, err := os.ReadFile("../../.pre-commit-hooks.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var hooks []struct {
		ID, Entry string
		Args      []string
	}
	if err := sigsyaml.Unmarshal(data, &hooks); err != nil {
		t.Fatal(err)
	}
	if len(hooks) != 2 {
		t.Fatalf("%d hooks, want 2", len(hooks))
	}
	dir := t.TempDir()
	write(t, dir, "fenceconfig.yaml", fenceConfig)
	shop := write(t, dir, "shop.yaml", written)
	t.Chdir(dir)
	for _, h := range hooks {
		entry := strings.Fields(h.Entry)
		if code, _, stderr := meshfence(t, "", slices.Concat(entry[1:], h.Args)...); entry[0] != "meshfence" || code != 0 {
			t.Errorf("%s: exit code %d\n%s", h.ID, code, stderr)
		}
	}
	if got := read(t, shop); got != rewritten {
		t.Errorf("%s:\n%s", filepath.Base(shop), got)
	}
}
