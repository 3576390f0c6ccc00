package main

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"

	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/suite"
)

// rulesFolder holds a page for each rule, one that lists them, and nothing else.
const rulesFolder = "docs/rules"

// rules makes the page of each rule, and the list of them.
func rules() (pages, error) {
	made := pages{}
	var list bytes.Buffer
	list.WriteString(`# Rules

` + "`make generate`" + ` writes this page and one for each rule from policy/leak. ` + "`meshfence rules ID`" + ` prints them.

A rule refuses an object, or warns of it. It is silent while one hold of its last column is active: that hold keeps the
traffic in whatever the object says. Hold ` + "`subset`" + ` counts if it is the only one. What the rows mean is in
[catalogue.md](../catalogue.md).

| rule | severity | kinds | what it is about | rows | silent under |
|---|---|---|---|---|---|
`)
	cases, err := examples()
	if err != nil {
		return nil, err
	}
	for _, r := range leak.Rules() {
		fmt.Fprintf(&list, "| [%[1]s](%[1]s.md) | %[2]s | %[3]s | %[4]s | %[5]s | %[6]s |\n",
			r.ID, r.Severity, strings.Join(r.Kinds, ", "), r.Summary, rowLinks("../", r.Rows), r.Silence())
		example, ok := cases[r.ID]
		if !ok {
			return nil, fmt.Errorf("%s/%s%s has no case that the rule finds", casesFolder, r.ID, suite.Extension)
		}
		page, err := rulePage(r, example)
		if err != nil {
			return nil, err
		}
		made[rulesFolder+"/"+r.ID+".md"] = page
	}
	made[rulesFolder+"/README.md"] = list.Bytes()
	return made, nil
}

func rulePage(r leak.Rule, example suite.Case) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s\n\n", r.ID, r.Summary)
	fmt.Fprintf(&b, "- Severity: %s\n- Kinds: %s\n", severity(r), strings.Join(r.Kinds, ", "))
	fmt.Fprintf(&b, "- Silent while one of these holds is active: %s\n", cmp.Or(r.Silence(), "none"))
	fmt.Fprintf(&b, "\n## Why it matters\n\n%s\n\n## What to write instead\n\n%s\n", wrap(r.Why, width), wrap(r.Fix, width))
	if err := writeExample(&b, example); err != nil {
		return nil, err
	}
	if len(r.Rows) > 0 {
		b.WriteString("\n## Rows of the catalogue\n\n")
		for _, row := range leak.Catalogue() {
			for _, id := range r.Rows {
				if id == row.ID {
					fmt.Fprintf(&b, "- %s: %s.\n", rowLink("../", id), row.What)
				}
			}
		}
	}
	return b.Bytes(), nil
}

// severity says what the severity of a rule does.
func severity(r leak.Rule) string {
	if r.Severity == leak.Warn {
		return "warn (admission lets the object through, with a warning)"
	}
	return "deny (admission refuses the object, unless the enforcement says otherwise)"
}

// rowLinks returns links to rows of the catalogue, from a page that has it at a prefix.
func rowLinks(prefix string, ids []string) string {
	links := make([]string, len(ids))
	for i, id := range ids {
		links[i] = rowLink(prefix, id)
	}
	return strings.Join(links, ", ")
}

func rowLink(prefix, id string) string {
	return fmt.Sprintf("[%s](%scatalogue.md#%s)", id, prefix, strings.ToLower(id))
}

// width is how long lines of text are.
const width = 120

// wrap breaks a text into lines.
func wrap(text string, width int) string {
	var b strings.Builder
	column := 0
	for _, word := range strings.Fields(text) {
		switch {
		case column == 0:
		case column+1+len(word) > width:
			b.WriteByte('\n')
			column = 0
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += len(word)
	}
	return b.String()
}
