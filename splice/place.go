package splice

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// editor knows where in a text its nodes are, and collects cuts.
type editor struct {
	text []byte
	// lines are the offsets at which lines begin.
	lines   []int
	newline string
	// json reports whether names are quoted as in JSON.
	json bool
	// step is by how much the document indents, and compact reports whether dashes are under the key of their list.
	step    int
	compact bool
	cuts    []cut
}

func newEditor(text []byte, root *yaml.Node) *editor {
	e := &editor{text: text, lines: []int{0}, newline: "\n", step: 2, compact: true}
	for at, c := range text {
		if c == '\n' {
			e.lines = append(e.lines, at+1)
		}
	}
	if bytes.Contains(text, []byte("\r\n")) {
		e.newline = "\r\n"
	}
	e.json = root.Style&yaml.FlowStyle != 0 && len(root.Content) > 0 && root.Content[0].Style == yaml.DoubleQuotedStyle
	e.learn(root, -1)
	return e
}

// learn finds out how a document indents from the first list and the first mapping in it that show it.
func (e *editor) learn(node *yaml.Node, column int) {
	seenList, seenMap := false, false
	var walk func(node *yaml.Node, column int)
	walk = func(node *yaml.Node, column int) {
		if seenList && seenMap || node.Style&yaml.FlowStyle != 0 {
			return
		}
		for i := 0; node.Kind == yaml.MappingNode && i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			block := value.Style&yaml.FlowStyle == 0 && len(value.Content) > 0
			switch {
			case block && value.Kind == yaml.SequenceNode && !seenList:
				e.compact, seenList = value.Column == key.Column, true
			case block && value.Kind == yaml.MappingNode && !seenMap && value.Content[0].Column > key.Column:
				e.step, seenMap = value.Content[0].Column-key.Column, true
			}
			walk(value, key.Column)
		}
		for i := 0; node.Kind == yaml.SequenceNode && i < len(node.Content); i++ {
			walk(node.Content[i], column)
		}
	}
	walk(node, column)
}

func (e *editor) cut(from, to int, with string) { e.cuts = append(e.cuts, cut{from, to, with}) }

// cutLines cuts the lines from one offset to another.
func (e *editor) cutLines(from, to int) { e.cut(e.lineStart(from), e.nextLine(to), "") }

func (e *editor) isFlow(s slot) bool { return s.flow || s.node.Style&yaml.FlowStyle != 0 }

// member is an entry of a mapping or an item of a list.
type member struct {
	slot
	key string
	// start is the offset of the key or the dash; without a dash that of the item. column is where it is.
	start, column, line int
}

// members returns what a mapping or list holds, in its order.
func (e *editor) members(s slot) []member {
	flow := e.isFlow(s)
	var members []member
	if s.node.Kind == yaml.SequenceNode {
		for _, item := range s.node.Content {
			m := member{slot: slot{node: item, indent: s.node.Column - 1, flow: flow}, column: s.node.Column - 1, line: item.Line}
			m.start = e.start(item)
			if !flow {
				m.start = e.dash(item, s.node.Column-1)
				m.after = m.start + 1
			}
			members = append(members, m)
		}
		return members
	}
	for i := 0; i+1 < len(s.node.Content); i += 2 {
		key := s.node.Content[i]
		m := member{key: key.Value, start: e.offset(key.Line, key.Column), column: key.Column - 1, line: key.Line}
		m.slot = slot{node: s.node.Content[i+1], indent: key.Column - 1, flow: flow}
		m.after = e.colon(e.end(slot{node: key, indent: key.Column - 1, flow: flow}))
		members = append(members, m)
	}
	return members
}

// colon returns the offset behind the colon that follows an offset.
func (e *editor) colon(at int) int {
	rest := e.text[at:]
	if i := bytes.IndexByte(rest, ':'); i >= 0 && len(bytes.TrimSpace(rest[:i])) == 0 {
		return at + i + 1
	}
	return at
}

// dash returns the offset of the dash before an item.
func (e *editor) dash(item *yaml.Node, column int) int {
	for line := item.Line; line > 0; line-- {
		at := e.lines[line-1] + column
		if at < len(e.text) && e.text[at] == '-' && len(bytes.Trim(e.text[e.lines[line-1]:at], " -\t")) == 0 {
			return at
		}
	}
	return e.start(item)
}

// offset returns the byte at a line and a column, which count from 1, the column in characters.
func (e *editor) offset(line, column int) int {
	at := e.lines[min(line, len(e.lines))-1]
	if line == 1 {
		at += len(e.text) - len(bytes.TrimPrefix(e.text, []byte("\ufeff")))
	}
	for ; column > 1 && at < len(e.text); column-- {
		_, size := utf8.DecodeRune(e.text[at:])
		at += size
	}
	return at
}

// start returns where a node begins, behind its anchor and its tag.
func (e *editor) start(node *yaml.Node) int {
	at := e.offset(node.Line, node.Column)
	for at < len(e.text) && (e.text[at] == '&' || e.text[at] == '!') {
		for at < len(e.text) && !strings.ContainsRune(" \t\r\n", rune(e.text[at])) {
			at++
		}
		for at < len(e.text) && strings.ContainsRune(" \t\r\n", rune(e.text[at])) {
			at++
		}
	}
	return at
}

func (e *editor) lineStart(at int) int { return bytes.LastIndexByte(e.text[:at], '\n') + 1 }

// lineEnd returns where the line of an offset ends, before its line break.
func (e *editor) lineEnd(at int) int {
	end := e.nextLine(at)
	return at + len(bytes.TrimRight(e.text[at:end], "\r\n"))
}

// nextLine returns where the line behind that of an offset begins.
func (e *editor) nextLine(at int) int {
	if i := bytes.IndexByte(e.text[at:], '\n'); i >= 0 {
		return at + i + 1
	}
	return len(e.text)
}

// opensLine reports whether nothing but white space is before an offset on its line.
func (e *editor) opensLine(at int) bool {
	return len(bytes.TrimSpace(e.text[e.lineStart(at):at])) == 0
}
