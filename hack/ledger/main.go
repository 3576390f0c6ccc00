// Command ledger writes LEDGER.md from the rules and the catalogue in policy/leak. With -check it writes nothing and
// fails where the file is not up to date.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy/leak"
)

const file = "LEDGER.md"

func main() {
	check := flag.Bool("check", false, "fail where "+file+" is not up to date, and write nothing")
	flag.Parse()
	want, err := ledger()
	if err != nil {
		log.Fatal(err)
	}
	if !*check {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			log.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(file)
	if err != nil {
		log.Fatal(err)
	}
	if !bytes.Equal(have, want) {
		log.Fatalf("%s is not up to date: run make generate", file)
	}
}

func ledger() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`# Rules and ledger

` + "`make generate`" + ` writes this page from policy/leak.

## The rules

A rule is silent while a hold of its last column is active; ` + "`subset`" + ` counts where it is the only one.

| rule | kinds | what would happen | rows | silent under |
|---|---|---|---|---|
`)
	for _, r := range leak.Rules() {
		id := "`" + r.ID + "`"
		if r.Severity == leak.Warn {
			id += " (warning)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", id, strings.Join(r.Kinds, ", "), r.Leaks, strings.Join(r.Rows, ", "), r.Silence())
	}
	b.WriteString(`
## The ledger

Every known way out of the cluster, and what becomes of it; the cases under test/conformance hold it against real
istiods. "Held" says which holds keep the traffic in whatever the object says; "mended" for which hold admission or the
controller changes the object so that it is kept in. The last column names the cases and tests that show it.

| row | what lets traffic out | verdict | shown by |
|---|---|---|---|
`)
	cases, err := conformanceCases()
	if err != nil {
		return nil, err
	}
	for _, e := range leak.Ledger(leak.Rules()) {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", e.ID, e.What, e.Verdict(), strings.Join(shownBy(e, cases[e.ID]), ", "))
	}
	return b.Bytes(), nil
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

// shownBy names the conformance cases of a row, its tests, and the fixtures of its rules.
func shownBy(e leak.Entry, cases []string) []string {
	var shown []string
	for _, name := range cases {
		shown = append(shown, "conformance "+name)
	}
	shown = append(shown, e.Shown...)
	for _, r := range e.Rules {
		shown = append(shown, "fixtures "+r.ID)
	}
	return shown
}
