package meshconfig

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/meshfence/meshfence/policy"
)

// splice puts text in the place of the bytes from start to end.
type splice struct {
	start, end int
	text       string
}

// applySplices applies splices in the order of their starts. Where two overlap, the first one has the bytes.
func applySplices(text string, splices []splice) string {
	slices.SortStableFunc(splices, func(a, b splice) int { return a.start - b.start })
	var b strings.Builder
	done := 0
	for _, s := range splices {
		start := max(s.start, done)
		b.WriteString(text[done:start])
		b.WriteString(s.text)
		done = max(s.end, start)
	}
	b.WriteString(text[done:])
	return b.String()
}

// itemLines are the lines of one item of a block list, counted from 0, both included.
type itemLines struct{ first, last int }

// lineItems finds the lines of the items of a block list that ends before the line end. What follows the
// last value of an item, blank lines and comments, is not part of it.
func (m *meshText) lineItems(list *yaml.Node, end int) []itemLines {
	items := make([]itemLines, len(list.Content))
	for i, item := range slices.Backward(list.Content) {
		first := item.Line - 1
		for first > 0 && !startsItem(m.line(first)) {
			first--
		}
		items[i] = itemLines{first, m.lastContent(first, end)}
		end = first
	}
	return items
}

func startsItem(line string) bool {
	rest, ok := strings.CutPrefix(strings.TrimLeft(line, " "), "-")
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t')
}

func (m *meshText) dashIndent(line int) string { return spaces(strings.IndexByte(m.line(line), '-')) }

func spaces(n int) string { return strings.Repeat(" ", max(n, 0)) }

// lastContent returns the last line before end, and not before first, that is not blank and not a comment.
func (m *meshText) lastContent(first, end int) int {
	for line := end - 1; line > first; line-- {
		if content := strings.TrimLeft(m.line(line), " \t"); content != "" && content[0] != '#' {
			return line
		}
	}
	return first
}

// nextLine returns the line of the key that follows a value in a mapping, or end where it is the last.
func (m *meshText) nextLine(mapping, value *yaml.Node, end int) int {
	if i := slices.Index(mapping.Content, value); i+1 < len(mapping.Content) {
		return mapping.Content[i+1].Line - 1
	}
	return end
}

// hostsEnd returns the line before which the hosts of an entry end.
func (m *meshText) hostsEnd(entry int) int {
	e := m.entries[entry]
	if isFlow(e.hosts) {
		return 0
	}
	items := m.lineItems(m.list, m.nextLine(m.root, m.list, m.end))
	return m.nextLine(e.item, e.hosts, items[entry].last+1)
}

// endsInBlockScalar reports whether the text ends, without a newline, in a literal or folded scalar.
func (m *meshText) endsInBlockScalar(last int) bool {
	if len(m.root.Content) < 4 || last != len(m.lines)-1 || m.lineEnd(last) != len(m.text) {
		return false
	}
	n := m.root
	for len(n.Content) > 0 {
		n = n.Content[len(n.Content)-1]
	}
	return n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0
}

// addLines puts whole lines behind a line. They start with its terminator and end without one, so that a
// text without a final newline stays one.
func (m *meshText) addLines(line int, lines []string) splice {
	text := strings.Join(lines, m.eol)
	if line < 0 || len(m.lines) == 0 {
		return splice{len(m.text), len(m.text), text}
	}
	at := m.lineEnd(line)
	return splice{at, at, m.eol + text}
}

// dropLines is the reverse of addLines.
func (m *meshText) dropLines(lines itemLines) splice {
	if lines.first == 0 {
		return splice{m.lineStart(0), m.lineStart(lines.last + 1), ""}
	}
	return splice{m.lineEnd(lines.first - 1), m.lineEnd(lines.last), ""}
}

// drop takes the marked items out of a list, or the marked pairs out of a flow mapping. A block list ends
// before the line end.
func (m *meshText) drop(list *yaml.Node, end int, gone []bool) ([]splice, error) {
	var splices []splice
	if !isFlow(list) {
		for i, lines := range m.lineItems(list, end) {
			if gone[i] {
				splices = append(splices, m.dropLines(lines))
			}
		}
		return splices, nil
	}
	width := len(list.Content) / len(gone)
	kept := -1 // where the last kept item ends
	for i := range gone {
		start := m.offset(list.Content[i*width])
		stop, err := m.flowEnd(list.Content[i*width+width-1])
		if err != nil {
			return nil, err
		}
		switch {
		case !gone[i]:
			kept = stop
		case kept >= 0: // with the comma before it
			splices = append(splices, splice{kept, stop, ""})
			kept = stop
		case i+1 < len(gone): // with the comma behind it
			splices = append(splices, splice{start, m.offset(list.Content[(i+1)*width]), ""})
		default:
			splices = append(splices, splice{start, stop, ""})
		}
	}
	return splices, nil
}

// appendFlow puts items behind the last one of a flow list or mapping.
func (m *meshText) appendFlow(list *yaml.Node, items string) ([]splice, error) {
	if len(list.Content) == 0 {
		at := m.skipProperties(m.offset(list)) + 1
		return []splice{{at, at, items}}, nil
	}
	at, err := m.flowEnd(list.Content[len(list.Content)-1])
	return []splice{{at, at, ", " + items}}, err
}

// colon returns the offset behind the colon of the key serviceSettings.
func (m *meshText) colon() (int, error) {
	at, err := m.flowEnd(m.key)
	if err != nil {
		return 0, err
	}
	at += len(m.text[at:]) - len(strings.TrimLeft(m.text[at:], " \t"))
	if !strings.HasPrefix(m.text[at:], ":") {
		return 0, errors.New(notUnderstood)
	}
	return at + 1, nil
}

// flowEnd returns the offset behind a node in flow style, an alias, or a scalar of one line.
func (m *meshText) flowEnd(n *yaml.Node) (int, error) {
	at := m.offset(n)
	switch {
	case n.Kind == yaml.AliasNode:
		return at + len("*") + len(n.Value), nil
	case n.Kind == yaml.ScalarNode:
		return m.scalarEnd(n, m.skipProperties(at))
	case !isFlow(n):
		return 0, errors.New(notUnderstood)
	}
	at = m.skipProperties(at) + 1
	if len(n.Content) > 0 {
		var err error
		if at, err = m.flowEnd(n.Content[len(n.Content)-1]); err != nil {
			return 0, err
		}
	}
	for at < len(m.text) {
		switch m.text[at] {
		case ']', '}':
			return at + 1, nil
		case ' ', '\t', '\r', '\n', ',':
			at++
		case '#':
			at += max(strings.IndexAny(m.text[at:], "\r\n"), 1)
		default:
			return 0, errors.New(notUnderstood)
		}
	}
	return 0, errors.New(notUnderstood)
}

func (m *meshText) scalarEnd(n *yaml.Node, at int) (int, error) {
	switch {
	case n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0:
		quote := m.text[at]
		for i := at + 1; i < len(m.text); i++ {
			switch {
			case quote == '"' && m.text[i] == '\\', quote == '\'' && strings.HasPrefix(m.text[i:], "''"):
				i++
			case m.text[i] == quote:
				return i + 1, nil
			}
		}
	case strings.HasPrefix(m.text[at:], n.Value):
		return at + len(n.Value), nil
	}
	return 0, errors.New(notUnderstood)
}

// skipProperties returns where the value behind a node's anchor and tag starts.
func (m *meshText) skipProperties(at int) int {
	for strings.HasPrefix(m.text[at:], "&") || strings.HasPrefix(m.text[at:], "!") {
		at += max(strings.IndexAny(m.text[at:], " \t\r\n"), 1)
		at += len(m.text[at:]) - len(strings.TrimLeft(m.text[at:], " \t\r\n"))
	}
	return at
}

func isFlow(n *yaml.Node) bool { return n.Style&yaml.FlowStyle != 0 }

// blockEntries writes our entries as items of a block list.
func blockEntries(ours []policy.ClusterLocalEntry, indent string) []string {
	lines := make([]string, 0, len(ours)+6)
	for _, local := range []bool{true, false} {
		hosts := withLocal(ours, local)
		if len(hosts) == 0 {
			continue
		}
		lines = append(lines, indent+"- settings:", indent+"    clusterLocal: "+strconv.FormatBool(local), indent+"  hosts:")
		for _, e := range hosts {
			lines = append(lines, indent+"  - "+scalar(e.Host))
		}
	}
	return lines
}

// scalar quotes a host that YAML would not read as a string, such as a wildcard.
func scalar(host string) string {
	plain := func(r rune) bool { return r != '.' && r != '-' && (r < 'a' || r > 'z') && (r < '0' || r > '9') }
	if host != "" && host[0] >= 'a' && host[0] <= 'z' && strings.Contains(host, ".svc.") && strings.IndexFunc(host, plain) < 0 {
		return host
	}
	return strconv.Quote(host)
}

// flowEntries writes our entries as items of a flow list, in the form that is also JSON.
func flowEntries(ours []policy.ClusterLocalEntry) string {
	var items []string
	for _, local := range []bool{true, false} {
		var hosts []string
		for _, e := range withLocal(ours, local) {
			hosts = append(hosts, strconv.Quote(e.Host))
		}
		if len(hosts) > 0 {
			items = append(items, `{"settings": {"clusterLocal": `+strconv.FormatBool(local)+`}, "hosts": [`+strings.Join(hosts, ", ")+`]}`)
		}
	}
	return strings.Join(items, ", ")
}
