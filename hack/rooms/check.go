package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// row is one line of the table of rooms.
type row struct {
	rooms   []string
	imports string
}

// table reads the rows of the table of rooms from a page.
func table(page string) []row {
	var rows []row
	_, page, _ = strings.Cut(page, "| room | duty | imports |")
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if strings.HasPrefix(line, "#") {
			break
		}
		if len(cells) != 5 {
			continue
		}
		var rooms []string
		for _, match := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(cells[1], -1) {
			rooms = append(rooms, match[1])
		}
		if len(rooms) > 0 {
			rows = append(rows, row{rooms, cells[3]})
		}
	}
	return rows
}

// check holds packages, each with what it imports, against the table: each is in it, imports only what its row names, and
// only from below; and what a row names is imported.
func check(rows []row, packages map[string][]string) []string {
	level := map[string]int{}
	for i, r := range rows {
		for _, room := range r.rooms {
			level[room] = i + 1
		}
	}
	var problems []string
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		at, ok := level[name]
		if !ok {
			problems = append(problems, name+" is not in the table of rooms")
			continue
		}
		for _, imported := range packages[name] {
			switch {
			case !rows[at-1].names(name, imported):
				problems = append(problems, fmt.Sprintf("%s imports %s, which its row does not name", name, imported))
			case level[imported] <= at:
				problems = append(problems, fmt.Sprintf("%s imports %s, which is not below it in the table", name, imported))
			}
		}
	}
	return append(problems, idle(rows, packages)...)
}

// idle says which rows name a room that there is not, or an import that none of their rooms has.
func idle(rows []row, packages map[string][]string) []string {
	var problems []string
	for _, r := range rows {
		var imported []string
		for _, room := range r.rooms {
			if _, ok := packages[room]; !ok {
				problems = append(problems, room+" is in the table of rooms, and is no package")
			}
			imported = append(imported, packages[room]...)
		}
		for _, name := range r.named() {
			if !slices.Contains(imported, name) {
				problems = append(problems, fmt.Sprintf("%s: the row names %s, which is not imported", strings.Join(r.rooms, ", "), name))
			}
		}
	}
	return problems
}

// named lists the rooms that the imports of a row spell out.
func (r row) named() []string {
	text := r.imports
	for _, words := range []string{"all below", "the policy rooms", "its parts"} {
		text = strings.ReplaceAll(text, words, "")
	}
	return strings.FieldsFunc(text, func(c rune) bool { return c == ',' || c == ' ' })
}

// names reports whether a row allows one of its rooms to import another.
func (r row) names(room, imported string) bool {
	return cmp.Or(
		slices.Contains(r.named(), imported),
		strings.Contains(r.imports, "all below"),
		strings.Contains(r.imports, "the policy rooms") && (imported == "policy" || strings.HasPrefix(imported, "policy/")),
		strings.Contains(r.imports, "its parts") && strings.HasPrefix(imported, room+"/"),
	)
}
