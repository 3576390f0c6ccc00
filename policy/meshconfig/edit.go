package meshconfig

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/meshfence/meshfence/policy"
)

// without returns the text as it was before our entries came.
func (m *meshText) without(r meshRecord) (*meshText, error) {
	mine := m.mine(r)
	if len(mine) == 0 {
		return m, nil
	}
	gone := make([]bool, len(m.entries))
	for i, hosts := range mine {
		gone[i] = !slices.Contains(hosts, false)
	}
	splices, err := m.dropEntries(gone, r)
	if err != nil {
		return nil, err
	}
	for i, hosts := range mine {
		if gone[i] {
			continue
		}
		dropped, err := m.drop(m.entries[i].hosts, m.hostsEnd(i), hosts)
		if err != nil {
			return nil, err
		}
		splices = append(splices, dropped...)
	}
	base, err := parseMesh(applySplices(m.text, splices))
	if err != nil {
		return nil, fmt.Errorf("mesh config cannot be edited in place: %w", err)
	}
	var rest []setting
	for _, s := range m.settings {
		if hosts, ok := mine[s.entry]; !ok || !hosts[s.item] {
			rest = append(rest, s)
		}
	}
	if !slices.EqualFunc(rest, base.settings, sameSetting) {
		return nil, errors.New(notUnderstood)
	}
	return base, nil
}

const notUnderstood = "mesh config cannot be edited in place: its form of YAML is not understood"

func sameSetting(a, b setting) bool { return a.host == b.host && a.local == b.local }

// mine marks the hosts of each entry that are ours. Where a host is there twice, a user has added the
// other one: ours is the one in the entry with most of our hosts, and the later one of two alike.
func (m *meshText) mine(r meshRecord) map[int][]bool {
	owned := r.owned()
	counts := make([]int, len(m.entries))
	candidates := make([]setting, 0, min(len(m.settings), len(owned)))
	for _, s := range m.settings {
		if m.entries[s.entry].written && owned[hashEntry(s.host, s.local)] {
			candidates = append(candidates, s)
			counts[s.entry]++
		}
	}
	best := make(map[policy.ClusterLocalEntry]setting, len(candidates))
	for _, s := range candidates {
		if other, ok := best[s.entryOf()]; !ok || counts[s.entry] >= counts[other.entry] {
			best[s.entryOf()] = s
		}
	}
	leaveTheirs(best, candidates, r.Theirs)
	mine := map[int][]bool{}
	for _, s := range best {
		if mine[s.entry] == nil {
			mine[s.entry] = make([]bool, len(m.entries[s.entry].hosts.Content))
		}
		mine[s.entry][s.item] = true
	}
	return mine
}

// leaveTheirs forgets the hosts that are listed no more often than a user had them before us: ours are gone.
func leaveTheirs(best map[policy.ClusterLocalEntry]setting, candidates []setting, theirs []string) {
	if len(theirs) == 0 {
		return
	}
	spare := map[string]int{}
	for _, s := range candidates {
		spare[s.host]++
	}
	for _, host := range theirs {
		spare[host]--
	}
	maps.DeleteFunc(best, func(e policy.ClusterLocalEntry, _ setting) bool { return spare[e.Host] <= 0 })
}

func (s setting) entryOf() policy.ClusterLocalEntry {
	return policy.ClusterLocalEntry{Host: s.host, Local: s.local}
}

// dropEntries takes whole items out of serviceSettings. When none is left, it also takes back what made
// room for the first of ours.
func (m *meshText) dropEntries(gone []bool, r meshRecord) ([]splice, error) {
	emptied := !slices.Contains(gone, false)
	switch {
	case emptied && r.Created && isFlow(m.root):
		pairs := make([]bool, len(m.root.Content)/2)
		pairs[m.at/2] = true
		return m.drop(m.root, 0, pairs)
	case emptied && r.Created && isFlow(m.list): // reformatted since
		lines := itemLines{m.key.Line - 1, m.lastContent(m.key.Line-1, m.nextLine(m.root, m.list, m.end))}
		return []splice{m.dropLines(lines)}, nil
	}
	splices, err := m.drop(m.list, m.nextLine(m.root, m.list, m.end), gone)
	if err != nil || !emptied {
		return splices, err
	}
	if r.Created {
		return append(splices, m.dropLines(itemLines{m.key.Line - 1, m.key.Line - 1})), nil
	}
	if r.Was == nil {
		return splices, nil
	}
	colon, err := m.colon()
	if err != nil {
		return nil, err
	}
	if !isFlow(m.list) {
		return append(splices, splice{colon, colon, *r.Was}), nil
	}
	end, err := m.flowEnd(m.list)
	return []splice{{colon, end, *r.Was}}, err
}

// with returns the text with our entries at the end of serviceSettings, and the record of them.
func (m *meshText) with(ours []policy.ClusterLocalEntry) (string, meshRecord, error) {
	if len(ours) == 0 {
		return m.text, meshRecord{}, nil
	}
	record := newMeshRecord(ours, m.settings)
	var splices []splice
	var err error
	switch {
	case m.key == nil:
		record.Created = true
		splices, err = m.addKey(ours)
	case m.list != nil && m.list.Kind == yaml.AliasNode:
		err = fmt.Errorf("mesh config line %d: serviceSettings must be a list, not an alias", m.list.Line)
	case len(m.entries) == 0:
		splices, record.Was, err = m.fillEmpty(ours)
	case isFlow(m.list):
		splices, err = m.appendFlow(m.list, flowEntries(ours))
	default:
		last := m.lineItems(m.list, m.nextLine(m.root, m.list, m.end))[len(m.entries)-1]
		splices = []splice{m.addLines(last.last, blockEntries(ours, m.dashIndent(last.first)))}
	}
	return applySplices(m.text, splices), record, err
}

// addKey writes serviceSettings at the end of the text.
func (m *meshText) addKey(ours []policy.ClusterLocalEntry) ([]splice, error) {
	if m.root != nil && isFlow(m.root) {
		return m.appendFlow(m.root, `"serviceSettings": [`+flowEntries(ours)+"]")
	}
	indent, last := "", m.end-1
	if m.root != nil {
		indent = spaces(m.root.Column - 1)
		if m.endsInBlockScalar(last) {
			// A line more would give that scalar a final newline.
			last = m.lastContent(0, m.root.Content[len(m.root.Content)-2].Line-1)
		}
	}
	return []splice{m.addLines(last, append([]string{indent + "serviceSettings:"}, blockEntries(ours, indent)...))}, nil
}

// fillEmpty puts our entries in the place of a null or an empty list, and returns what was there.
func (m *meshText) fillEmpty(ours []policy.ClusterLocalEntry) ([]splice, *string, error) {
	if m.list != nil && isFlow(m.root) {
		splices, err := m.appendFlow(m.list, flowEntries(ours))
		return splices, nil, err
	}
	colon, err := m.colon()
	if err != nil {
		return nil, nil, err
	}
	end, value := colon, m.root.Content[m.at+1]
	if m.list != nil || value.Value != "" {
		if end, err = m.flowEnd(value); err != nil {
			return nil, nil, err
		}
	}
	was := m.text[colon:end]
	if isFlow(m.root) {
		return []splice{{colon, end, " [" + flowEntries(ours) + "]"}}, &was, nil
	}
	line := m.key.Line - 1
	for m.lineEnd(line) < end {
		line++
	}
	return []splice{{colon, end, ""}, m.addLines(line, blockEntries(ours, spaces(m.root.Column-1)))}, &was, nil
}
