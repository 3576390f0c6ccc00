package splice

import (
	"bytes"
	"strings"

	"go.yaml.in/yaml/v3"
)

// end returns the offset behind the text of a slot's value.
func (e *editor) end(s slot) int {
	start := e.start(s.node)
	switch {
	case s.node.Kind == yaml.AliasNode:
		return start + bytes.IndexAny(append(e.text[start:len(e.text):len(e.text)], '\n'), " \t\r\n,]}")
	case s.node.Kind != yaml.ScalarNode && s.node.Style&yaml.FlowStyle != 0:
		return e.closing(start)
	case s.node.Kind != yaml.ScalarNode:
		members := e.members(s)
		return e.end(members[len(members)-1].slot)
	case s.node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0:
		return e.quoted(start)
	case s.node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return e.blockScalar(s, start)
	case e.isAbsent(s):
		return s.after
	}
	return e.plain(s, start)
}

// isAbsent reports whether no text stands for a null.
func (e *editor) isAbsent(s slot) bool {
	return s.node.Kind == yaml.ScalarNode && s.node.Value == "" && s.node.Style&^yaml.TaggedStyle == 0
}

// quoted returns the offset behind a scalar whose opening quote is at start.
func (e *editor) quoted(start int) int {
	quote := e.text[start]
	for at := start + 1; at < len(e.text); at++ {
		switch {
		case e.text[at] == '\\' && quote == '"':
			at++
		case e.text[at] == quote && quote == '\'' && at+1 < len(e.text) && e.text[at+1] == quote:
			at++
		case e.text[at] == quote:
			return at + 1
		}
	}
	return len(e.text)
}

// closing returns the offset behind the bracket that closes the one at start.
func (e *editor) closing(start int) int {
	depth, token := 0, true
	for at := start; at < len(e.text); {
		c := e.text[at]
		switch {
		case c == '[' || c == '{':
			depth++
			token = true
		case c == ']' || c == '}':
			if depth--; depth == 0 {
				return at + 1
			}
			token = false
		case token && (c == '"' || c == '\''):
			at = e.quoted(at)
			token = false
			continue
		case c == '#' && strings.ContainsRune(" \t\n", rune(e.text[at-1])):
			at = e.lineEnd(at)
			continue
		case c == ',' || c == ':':
			token = true
		case !strings.ContainsRune(" \t\r\n", rune(c)):
			token = false
		}
		at++
	}
	return len(e.text)
}

// blockScalar returns where the last line of a literal or folded scalar ends whose header is at start.
func (e *editor) blockScalar(s slot, start int) int {
	header := string(e.text[start:e.lineEnd(start)])
	keep := strings.Contains(strings.Fields(header)[0], "+")
	end, blank := e.lineEnd(start), e.lineEnd(start)
	indent := 0
	for at := e.nextLine(start); at < len(e.text); at = e.nextLine(at) {
		line := e.text[at:e.lineEnd(at)]
		text := bytes.TrimLeft(line, " ")
		if len(bytes.TrimSpace(line)) == 0 {
			blank = e.lineEnd(at)
			continue
		}
		width := len(line) - len(text)
		if indent == 0 {
			indent = width
		}
		if width <= s.indent || width < indent {
			break
		}
		end, blank = e.lineEnd(at), e.lineEnd(at)
	}
	if keep {
		return blank
	}
	return end
}

// plain returns the offset behind a scalar without quotes.
func (e *editor) plain(s slot, start int) int {
	end := e.plainLine(s, start)
	if end < e.lineEnd(start) && len(bytes.TrimSpace(e.text[end:e.lineEnd(start)])) > 0 {
		return end // a comment or an indicator follows
	}
	for at := e.nextLine(end); at < len(e.text); at = e.nextLine(at) {
		line := e.text[at:e.lineEnd(at)]
		text := bytes.TrimLeft(line, " \t")
		if len(text) == 0 {
			continue
		}
		if text[0] == '#' || !s.flow && len(line)-len(text) <= s.indent {
			break
		}
		first := at + len(line) - len(text)
		if s.flow && strings.ContainsRune(",]}[{:", rune(text[0])) {
			break
		}
		end = e.plainLine(s, first)
		if len(bytes.TrimSpace(e.text[end:e.lineEnd(first)])) > 0 {
			break
		}
	}
	return end
}

// plainLine returns where a scalar without quotes ends on the line of an offset.
func (e *editor) plainLine(s slot, start int) int {
	stop := e.lineEnd(start)
	end := start
	for at := start; at < stop; at++ {
		c := e.text[at]
		next := byte('\n')
		if at+1 < len(e.text) {
			next = e.text[at+1]
		}
		switch {
		case s.flow && strings.ContainsRune(",[]{}", rune(c)),
			c == ':' && (strings.ContainsRune(" \t\r\n", rune(next)) || s.flow && strings.ContainsRune(",[]{}", rune(next))),
			c == '#' && at > start && (e.text[at-1] == ' ' || e.text[at-1] == '\t'):
			return end
		case c != ' ' && c != '\t':
			end = at + 1
		}
	}
	return end
}
