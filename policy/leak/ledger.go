package leak

import (
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// Entry is a row of the catalogue with the rules that cover it.
type Entry struct {
	Row
	Rules []Rule
}

// Ledger returns every row of the catalogue with its rules, in the order of the catalogue.
func Ledger(rules []Rule) []Entry {
	var entries []Entry
	for _, row := range Catalogue() {
		e := Entry{Row: row}
		for _, r := range rules {
			if slices.Contains(r.Rows, row.ID) {
				e.Rules = append(e.Rules, r)
			}
		}
		entries = append(entries, e)
	}
	return entries
}

// Silence says under which holds the rule does not speak; empty where it always does.
func (r Rule) Silence() string {
	text := r.Stops().String()
	if r.Guards != 0 && text != "" {
		text += " (not while " + policy.HoldsOf(r.Guards).String() + " is active)"
	}
	return text
}

// Verdict says what closes the row, or why nothing does.
func (e Entry) Verdict() string {
	var parts []string
	add := func(prefix, list string) {
		if list != "" {
			parts = append(parts, prefix+list)
		}
	}
	add("held by ", e.Stops.String())
	add("repaired for ", e.Repairs.String())
	add("refused by ", e.rules(Deny))
	add("warned of by ", e.rules(Warn))
	switch {
	case e.Harmless:
		return "harmless: " + e.Reason
	case len(parts) == 0:
		return "out of reach: " + e.Reason
	}
	add("", e.Reason)
	return strings.Join(parts, "; ")
}

func (e Entry) rules(severity Severity) string {
	var ids []string
	for _, r := range e.Rules {
		if r.Severity == severity {
			ids = append(ids, r.ID)
		}
	}
	return strings.Join(ids, ", ")
}
