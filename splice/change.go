package splice

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"
)

// slot is a place in which a value is.
type slot struct {
	node *yaml.Node
	// indent is the column of the keys or dashes among which the value is; -1 at the root.
	indent int
	// flow reports whether it is in brackets or braces.
	flow bool
	// after is the offset behind the colon or the dash before it.
	after int
}

// change plans the cuts after which a slot holds what is wanted.
func (e *editor) change(s slot, have, want any) error {
	if equal(have, want) {
		return nil
	}
	if s.node.Kind == yaml.AliasNode {
		return fmt.Errorf("%w: line %d is an alias", ErrPlace, s.node.Line)
	}
	haveMap, isMap := have.(map[string]any)
	wantMap, wantsMap := want.(map[string]any)
	if isMap && wantsMap && s.node.Kind == yaml.MappingNode {
		return e.mapping(s, haveMap, wantMap)
	}
	haveList, isList := have.([]any)
	wantList, wantsList := want.([]any)
	if isList && wantsList && s.node.Kind == yaml.SequenceNode {
		return e.sequence(s, haveList, wantList)
	}
	return e.replace(s, want)
}

func (e *editor) mapping(s slot, have, want map[string]any) error {
	members := e.members(s)
	added := maps.Clone(want)
	kept := make([]bool, len(members))
	var left int
	for i, m := range members {
		value, wanted := want[m.key]
		before, known := have[m.key]
		if !known {
			return fmt.Errorf("%w: line %d: the key is not read as text", ErrPlace, m.line)
		}
		delete(added, m.key)
		if kept[i] = wanted; !wanted {
			continue
		}
		left++
		if err := e.change(m.slot, before, value); err != nil {
			return err
		}
	}
	for key := range have {
		if _, missing := added[key]; missing { // a merge key brings it
			return fmt.Errorf("%w: line %d: %s comes from elsewhere", ErrPlace, s.node.Line, key)
		}
	}
	if left == 0 && len(members) > 0 {
		return e.replace(s, want)
	}
	e.remove(s, members, kept)
	var entries []any
	for _, key := range slices.SortedFunc(maps.Keys(added), nameFirst) {
		entries = append(entries, map[string]any{key: added[key]})
	}
	return e.insert(s, members, kept, len(members), entries)
}

// nameFirst orders keys by name, and the name itself before all others.
func nameFirst(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == "name":
		return -1
	case b == "name":
		return 1
	}
	return cmp.Compare(a, b)
}

func (e *editor) sequence(s slot, have, want []any) error {
	members := e.members(s)
	if len(members) != len(have) {
		return fmt.Errorf("%w: line %d", ErrPlace, s.node.Line)
	}
	pairs := align(have, want)
	kept := make([]bool, len(have))
	var left int
	for _, p := range pairs {
		if p.have >= 0 && p.want >= 0 {
			kept[p.have] = true
			left++
		}
	}
	if left == 0 && len(have) > 0 {
		return e.replace(s, want)
	}
	for _, p := range pairs {
		if p.have < 0 || p.want < 0 {
			continue
		}
		if err := e.change(members[p.have].slot, have[p.have], want[p.want]); err != nil {
			return err
		}
	}
	e.remove(s, members, kept)
	at := len(have)
	var items []any
	// Backwards, so that what is added goes before the next item that stays.
	for _, p := range slices.Backward(pairs) {
		switch {
		case p.have < 0:
			items = append([]any{want[p.want]}, items...)
		case p.want >= 0:
			if err := e.insert(s, members, kept, at, items); err != nil {
				return err
			}
			at, items = p.have, nil
		}
	}
	return e.insert(s, members, kept, at, items)
}

// pair is an item of the one list and what becomes of it in the other; -1 where there is none.
type pair struct{ have, want int }

// align pairs the items of two lists in order: what is alike with its like, and what is left over with nothing.
func align(have, want []any) []pair {
	var pairs []pair
	i, j := 0, 0
	for i < len(have) && j < len(want) {
		more := len(have) - i - (len(want) - j)
		switch {
		case more == 0 || alike(have[i], want[j]):
			pairs = append(pairs, pair{i, j})
			i, j = i+1, j+1
		case more > 0:
			pairs = append(pairs, pair{i, -1})
			i++
		default:
			pairs = append(pairs, pair{-1, j})
			j++
		}
	}
	for ; i < len(have); i++ {
		pairs = append(pairs, pair{i, -1})
	}
	for ; j < len(want); j++ {
		pairs = append(pairs, pair{-1, j})
	}
	return pairs
}

// alike reports whether one item may have become the other: it has the same name, or a member that is the same.
func alike(a, b any) bool {
	x, ok := a.(map[string]any)
	y, both := b.(map[string]any)
	if !ok || !both {
		return equal(a, b)
	}
	if x["name"] != nil || y["name"] != nil {
		return equal(x["name"], y["name"])
	}
	for key, value := range x {
		if other, ok := y[key]; ok && equal(value, other) {
			return true
		}
	}
	return len(x) == 0
}

// remove cuts the members that are not kept. At least one is.
func (e *editor) remove(s slot, members []member, kept []bool) {
	last := len(kept) - 1
	for last >= 0 && !kept[last] {
		last--
	}
	for i := 0; i < len(members); i++ {
		if kept[i] {
			continue
		}
		first := i
		for i+1 < len(members) && !kept[i+1] {
			i++
		}
		switch {
		case !e.isFlow(s) && e.opensLine(members[first].start):
			e.cutLines(members[first].start, e.end(members[i].slot))
		case i < last:
			e.cut(members[first].start, members[i+1].start, "")
		default:
			e.cut(e.end(members[last].slot), e.end(members[i].slot), "")
		}
	}
}

// insert puts entries, each a mapping with one key or an item, before a member, or behind the last one that is kept.
func (e *editor) insert(s slot, members []member, kept []bool, before int, entries []any) error {
	if len(entries) == 0 {
		return nil
	}
	if e.isFlow(s) {
		return e.insertFlow(s, members, kept, before, entries)
	}
	block := func(entry any) (string, error) { return e.block(s, entry, members[0].column) }
	if before < len(members) {
		if !e.opensLine(members[before].start) {
			return fmt.Errorf("%w: line %d", ErrPlace, members[before].line)
		}
		for _, entry := range entries {
			text, err := block(entry)
			if err != nil {
				return err
			}
			at := e.lineStart(members[before].start)
			e.cut(at, at, text+e.newline)
		}
		return nil
	}
	last := members[lastKept(kept)]
	at := e.lineEnd(e.end(last.slot))
	for _, entry := range entries {
		text, err := block(entry)
		if err != nil {
			return err
		}
		e.cut(at, at, e.newline+text)
	}
	return nil
}

func (e *editor) insertFlow(s slot, members []member, kept []bool, before int, entries []any) error {
	for _, entry := range entries {
		text, err := e.flowEntry(s, entry)
		if err != nil {
			return err
		}
		switch {
		case len(members) == 0:
			at := e.start(s.node) + 1
			if len(e.cuts) > 0 && e.cuts[len(e.cuts)-1].from == at {
				text = ", " + text
			}
			e.cut(at, at, text)
		case before < len(members):
			e.cut(members[before].start, members[before].start, text+", ")
		default:
			last := members[lastKept(kept)]
			at := e.end(last.slot)
			separator := e.separator(last)
			e.cut(at, at, ","+separator+text)
		}
	}
	return nil
}

func lastKept(kept []bool) int {
	for i, k := range slices.Backward(kept) {
		if k {
			return i
		}
	}
	return 0
}
