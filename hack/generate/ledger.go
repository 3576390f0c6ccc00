package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy/leak"
)

// ledger makes the page of what becomes of every known way out of the cluster.
func ledger() (pages, error) {
	var b bytes.Buffer
	b.WriteString(`# Ledger

` + "`make generate`" + ` writes this page from policy/leak. [catalogue.md](catalogue.md) says how each row works.

Every known way out of the cluster, and what becomes of it; the cases under test/conformance hold it against real
istiods. "Held" says which holds keep the traffic in whatever the object says; "repaired" for which hold admission or the
controller changes the object so that it is kept in. The last column names the cases and tests that show it.

| row | what lets traffic out | verdict | shown by |
|---|---|---|---|
`)
	cases, err := conformanceCases()
	if err != nil {
		return nil, err
	}
	for _, e := range leak.Ledger(leak.Rules()) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", rowLink("", e.ID), e.What, e.Verdict(), strings.Join(shownBy(e, cases[e.ID]), ", "))
	}
	return pages{"docs/ledger.md": b.Bytes()}, nil
}

// conformanceCases returns the names of the cases under test/conformance by their rows.
func conformanceCases() (map[string][]string, error) {
	files, err := filepath.Glob(filepath.Join("test", "conformance", "testdata", "*.yaml"))
	if err != nil {
		return nil, err
	}
	cases := map[string][]string{}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var c struct{ Row string }
		if err := yaml.Unmarshal(data, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		cases[c.Row] = append(cases[c.Row], strings.TrimSuffix(filepath.Base(file), ".yaml"))
	}
	return cases, nil
}

// shownBy names the conformance cases of a row, its tests, and its rules, whose cases show it.
func shownBy(e leak.Entry, cases []string) []string {
	var shown []string
	for _, name := range cases {
		shown = append(shown, "conformance "+name)
	}
	shown = append(shown, e.Shown...)
	for _, r := range e.Rules {
		shown = append(shown, fmt.Sprintf("[%[1]s](rules/%[1]s.md)", r.ID))
	}
	return shown
}
