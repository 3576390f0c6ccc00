package main

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

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
	for _, e := range leak.Ledger(leak.Rules()) {
		shown, err := shownBy(e)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", rowLink("", e.ID), e.What, e.Verdict(), strings.Join(shown, ", "))
	}
	return pages{"docs/ledger.md": b.Bytes()}, nil
}

// shownBy names the conformance cases of a row, its tests, and its rules, whose fixtures show it.
func shownBy(e leak.Entry) ([]string, error) {
	cases, err := filepath.Glob(filepath.Join("test", "conformance", "testdata", "*.yaml"))
	if err != nil {
		return nil, err
	}
	var shown []string
	for _, file := range cases {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if row, _, _ := strings.Cut(name, "-"); row == e.ID {
			shown = append(shown, "conformance "+name)
		}
	}
	shown = append(shown, e.Shown...)
	for _, r := range e.Rules {
		shown = append(shown, fmt.Sprintf("[%[1]s](rules/%[1]s.md)", r.ID))
	}
	return shown, nil
}
