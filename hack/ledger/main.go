// Command ledger writes LEDGER.md and the table of rules in README.md from the rules and the catalogue in
// policy/leak. With -check it writes nothing and fails where they are not up to date.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/meshfence/meshfence/policy/leak"
)

const (
	begin = "<!-- rules: make generate -->\n"
	end   = "<!-- end of rules -->\n"
)

func main() {
	check := flag.Bool("check", false, "fail where the files are not up to date, and write nothing")
	flag.Parse()
	ledger, err := ledger()
	if err != nil {
		log.Fatal(err)
	}
	readme, err := readme()
	if err != nil {
		log.Fatal(err)
	}
	stale := false
	for file, content := range map[string][]byte{"LEDGER.md": ledger, "README.md": readme} {
		have, err := os.ReadFile(file)
		switch {
		case bytes.Equal(have, content):
		case *check:
			stale = true
			log.Printf("%s is not up to date: run make generate (%v)", file, err)
		default:
			if err := os.WriteFile(file, content, 0o644); err != nil {
				log.Fatal(err)
			}
		}
	}
	if stale {
		os.Exit(1)
	}
}

func ledger() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`# The ledger

Every known way out of the cluster, and what becomes of it. ` + "`make generate`" + ` writes this page from policy/leak; the
cases under test/conformance hold it against real istiods. "Held" says which holds keep the traffic in whatever the
object says; "mended" for which hold admission or the controller changes the object so that it is kept in. A rule speaks
only where no active hold stops the row. The last column names the cases and tests that show it.

| row | what lets traffic out | verdict | shown by |
|---|---|---|---|
`)
	for _, e := range leak.Ledger(leak.Rules()) {
		shown, err := shownBy(e)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", e.ID, e.What, e.Verdict(), strings.Join(shown, ", "))
	}
	return b.Bytes(), nil
}

// shownBy names the conformance cases of a row, its tests, and the fixtures of its rules.
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
		shown = append(shown, "fixtures "+r.ID)
	}
	return shown, nil
}

// readme returns README.md with its table of rules.
func readme() ([]byte, error) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		return nil, err
	}
	before, rest, found := strings.Cut(string(text), begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return nil, fmt.Errorf("README.md must have the lines %q and %q", begin, end)
	}
	var b strings.Builder
	b.WriteString("| rule | kinds | otherwise | rows | silent under |\n|---|---|---|---|---|\n")
	for _, r := range leak.Rules() {
		id := "`" + r.ID + "`"
		if r.Severity == leak.Warn {
			id += " (warning)"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", id, strings.Join(r.Kinds, ", "), r.Leaks, strings.Join(r.Rows, ", "), r.Stops())
	}
	return []byte(before + begin + b.String() + end + after), nil
}
