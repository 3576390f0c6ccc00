package splice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"
)

// replace puts another value in the place of a whole one.
func (e *editor) replace(s slot, want any) error {
	start, end := e.start(s.node), e.end(s)
	if s.flow || s.indent < 0 {
		text, err := e.flowValue(s, want)
		if e.isAbsent(s) {
			start, text = s.after, " "+text
		}
		e.cut(start, end, text)
		return err
	}
	scalar := s.node.Kind == yaml.ScalarNode && !e.isAbsent(s)
	if text, ok := want.(string); ok && scalar {
		if e.replaceString(s, start, end, text) {
			return nil
		}
	}
	text, err := e.value(s, want)
	if err != nil {
		return err
	}
	if e.isAbsent(s) && strings.HasPrefix(text, e.newline) {
		at := e.lineEnd(s.after) // behind a comment
		e.cut(at, at, text)
		return nil
	}
	e.cut(s.after, end, text)
	return nil
}

// replaceString writes a string in the style of the scalar that it takes the place of; false where that has none.
func (e *editor) replaceString(s slot, start, end int, text string) bool {
	switch {
	case s.node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 && text != "" && !strings.ContainsAny(text[:1], " \n"):
		e.cut(start, end, e.literal(s, start, text))
	case s.node.Style&yaml.DoubleQuotedStyle != 0:
		quoted, err := jsontext.AppendQuote(nil, text)
		if err != nil {
			return false
		}
		e.cut(start, end, string(quoted))
	case s.node.Style&yaml.SingleQuotedStyle != 0 && !strings.ContainsAny(text, "\r\n\t"):
		e.cut(start, end, "'"+strings.ReplaceAll(text, "'", "''")+"'")
	default:
		return false
	}
	return true
}

// literal writes a literal scalar with the indentation and the comment of the one whose header is at start.
func (e *editor) literal(s slot, start int, text string) string {
	_, comment, _ := strings.Cut(string(e.text[start:e.lineEnd(start)]), " ")
	body := strings.TrimRight(text, "\n")
	header := "|"
	switch len(text) - len(body) {
	case 0:
		header = "|-"
	case 1:
	default:
		header = "|+"
	}
	if comment != "" {
		header += " " + comment
	}
	first := e.text[e.nextLine(start):]
	indent := len(first) - len(bytes.TrimLeft(first, " "))
	if indent <= s.indent {
		indent = s.indent + e.step
	}
	pad := strings.Repeat(" ", indent)
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		header += e.newline
		if line != "" {
			header += pad + line
		}
	}
	return header
}

// value returns what is behind a colon or a dash: the value on the same line, or in lines of its own.
func (e *editor) value(s slot, want any) (string, error) {
	size := -1
	switch v := want.(type) {
	case map[string]any:
		size = len(v)
	case []any:
		size = len(v)
	}
	if size <= 0 {
		text, err := e.encode(want, size == 0)
		return " " + text, err
	}
	indent := s.indent + e.step
	if _, list := want.([]any); list && e.compact {
		indent = s.indent
	}
	text, err := e.encode(want, false)
	return e.newline + e.pad(text, indent), err
}

// block returns an entry of a mapping or an item of a list as lines, without the last line break.
func (e *editor) block(s slot, entry any, column int) (string, error) {
	if s.node.Kind == yaml.SequenceNode {
		entry = []any{entry}
	}
	text, err := e.encode(entry, false)
	return e.pad(text, column), err
}

func (e *editor) pad(text string, column int) string {
	var lines []string
	for line := range strings.SplitSeq(text, "\n") {
		if line != "" {
			line = strings.Repeat(" ", column) + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, e.newline)
}

// flowEntry returns an entry of a mapping or an item of a list as it is in braces or brackets.
func (e *editor) flowEntry(s slot, entry any) (string, error) {
	text, err := e.flowValue(s, entry)
	if s.node.Kind == yaml.MappingNode && err == nil {
		text = strings.TrimSpace(text[1 : len(text)-1])
	}
	return text, err
}

// separator is what is between a comma and the entry behind it: what is before an entry on a line of its own.
func (e *editor) separator(m member) string {
	switch {
	case e.opensLine(m.start):
		return e.newline + string(e.text[e.lineStart(m.start):m.start])
	case e.json && !e.spaced():
		return ""
	}
	return " "
}

// spaced reports whether the document has white space behind its colons.
func (e *editor) spaced() bool { return !e.json || bytes.Contains(e.text, []byte(`": `)) }

// flowValue returns a value on one line.
func (e *editor) flowValue(s slot, value any) (string, error) {
	if !e.json && !(len(s.node.Content) > 0 && s.node.Content[0].Style == yaml.DoubleQuotedStyle) {
		return e.encode(value, true)
	}
	raw, err := json.Marshal(value)
	if err != nil {
		return "", fmt.Errorf("encode value: %w", err)
	}
	text := jsontext.Value(raw)
	err = text.Format(jsontext.SpaceAfterColon(e.spaced()), jsontext.SpaceAfterComma(e.spaced()))
	return string(text), err
}

// encode writes a value in YAML, without the last line break.
func (e *editor) encode(value any, flow bool) (string, error) {
	node, err := e.node(value, flow)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(e.step)
	if e.compact {
		encoder.CompactSeqIndent()
	}
	if err := encoder.Encode(node); err != nil {
		return "", fmt.Errorf("encode value: %w", err)
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// node builds the node of a value.
func (e *editor) node(value any, flow bool) (*yaml.Node, error) {
	node := &yaml.Node{}
	if flow {
		node.Style = yaml.FlowStyle
	}
	switch v := value.(type) {
	case map[string]any:
		node.Kind = yaml.MappingNode
		for _, key := range slices.SortedFunc(maps.Keys(v), nameFirst) {
			below, err := e.node(v[key], flow)
			if err != nil {
				return nil, err
			}
			name := &yaml.Node{}
			if err := name.Encode(key); err != nil {
				return nil, fmt.Errorf("encode key: %w", err)
			}
			node.Content = append(node.Content, name, below)
		}
	case []any:
		node.Kind = yaml.SequenceNode
		for _, item := range v {
			below, err := e.node(item, flow)
			if err != nil {
				return nil, err
			}
			node.Content = append(node.Content, below)
		}
	case json.Number:
		*node = yaml.Node{Kind: yaml.ScalarNode, Value: v.String()}
	default: // quotes what older YAML takes for something else than text
		if err := node.Encode(v); err != nil {
			return nil, fmt.Errorf("encode value: %w", err)
		}
	}
	return node, nil
}
