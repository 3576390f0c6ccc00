package meshconfig

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// meshText is the text of a mesh config with its YAML nodes, which know the line and column where they
// start.
type meshText struct {
	text  string
	lines []int // where each line starts
	eol   string
	end   int        // the line of the marker that ends the document, or the number of lines
	root  *yaml.Node // nil where the text has no value

	at        int        // index of the key serviceSettings in root.Content; -1 where there is none
	key, list *yaml.Node // the key and its value; list is nil where the value is absent or null
	entries   []meshEntry
	settings  []setting // every host of the entries, in the order of the text
}

// meshEntry is one item of serviceSettings.
type meshEntry struct {
	item  *yaml.Node
	hosts *yaml.Node // nil where it has none
	local bool
	// written reports whether the entry and its hosts are in the list itself and not behind an alias.
	written bool
}

// setting is one host of serviceSettings.
type setting struct {
	host        string
	local       bool
	line        int
	entry, item int
}

func (s setting) field() string { return fmt.Sprintf("serviceSettings[%d].hosts[%d]", s.entry, s.item) }

// parseMesh reads the YAML of a mesh config, and of it the shape of serviceSettings. A field may be spelled
// as protobuf does (service_settings), because istiod reads both.
func parseMesh(text string) (*meshText, error) {
	m := &meshText{text: text, eol: "\n", at: -1}
	document, err := oneDocument(text)
	if err != nil {
		return nil, err
	}
	m.splitLines()
	m.end = len(m.lines)
	if len(document.Content) == 0 {
		return m, nil
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" && root.Value == "" {
		return m, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, errors.New("mesh config must be a mapping")
	}
	m.root = root
	m.end = m.root.Line
	for m.end < len(m.lines) && !endsDocument(m.line(m.end)) {
		m.end++
	}
	return m, m.readSettings()
}

// oneDocument reads YAML to its end, its long lists of hosts by themselves.
func oneDocument(text string) (yaml.Node, error) {
	if short, runs := cutRuns(text); len(runs) > 0 {
		if document, err := wholeDocument(short); err == nil && restoreRuns(&document, runs) {
			return document, nil
		}
	}
	return wholeDocument(text)
}

// wholeDocument leaves YAML to the parser. Where more follows the first document, istiod ignores it, and so may not see what
// a user believes to be in force.
func wholeDocument(text string) (yaml.Node, error) {
	decoder := yaml.NewDecoder(strings.NewReader(text))
	var document, more yaml.Node
	err := decoder.Decode(&document)
	if err == nil {
		if err = decoder.Decode(&more); err == nil {
			return document, fmt.Errorf("mesh config line %d: must be one YAML document", more.Line)
		}
	}
	if !errors.Is(err, io.EOF) {
		return document, fmt.Errorf("mesh config must be YAML: %s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	return document, nil
}

func endsDocument(line string) bool {
	rest, ok := strings.CutPrefix(line, "---")
	if !ok {
		rest, ok = strings.CutPrefix(line, "...")
	}
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t')
}

func (m *meshText) readSettings() error {
	key, value, err := field(m.root, "serviceSettings", "service_settings")
	if err != nil || key == nil {
		return err
	}
	m.at, m.key = slices.Index(m.root.Content, key), key
	list := resolve(value)
	if isNull(list) {
		return nil
	}
	if list.Kind != yaml.SequenceNode {
		return shapeError("serviceSettings", value, "a list")
	}
	m.list = value
	for i, item := range list.Content {
		entry, err := readEntry(item, fmt.Sprintf("serviceSettings[%d]", i))
		if err != nil {
			return err
		}
		entry.written = entry.written && value.Kind != yaml.AliasNode
		m.entries = append(m.entries, entry)
	}
	m.listHosts()
	return nil
}

func readEntry(item *yaml.Node, path string) (meshEntry, error) {
	entry := meshEntry{item: item, written: item.Kind != yaml.AliasNode}
	node := resolve(item)
	if node.Kind != yaml.MappingNode {
		return entry, shapeError(path, item, "a mapping")
	}
	_, settings, err := field(node, "settings")
	if err != nil {
		return entry, err
	}
	if settings = resolve(settings); !isNull(settings) {
		if settings.Kind != yaml.MappingNode {
			return entry, shapeError(path+".settings", settings, "a mapping")
		}
		_, local, err := field(settings, "clusterLocal", "cluster_local")
		if err != nil {
			return entry, err
		}
		var ok bool
		if entry.local, ok = boolean(resolve(local)); !ok {
			return entry, shapeError(path+".settings.clusterLocal", local, "true or false")
		}
	}
	_, hosts, err := field(node, "hosts")
	if err != nil || isNull(resolve(hosts)) {
		return entry, err
	}
	entry.written = entry.written && hosts.Kind != yaml.AliasNode
	entry.hosts = resolve(hosts)
	if entry.hosts.Kind != yaml.SequenceNode {
		return entry, shapeError(path+".hosts", hosts, "a list")
	}
	for i, host := range entry.hosts.Content {
		if h := resolve(host); h.Kind != yaml.ScalarNode || h.ShortTag() != "!!str" {
			return entry, shapeError(fmt.Sprintf("%s.hosts[%d]", path, i), host, "a string")
		}
	}
	return entry, nil
}

func shapeError(path string, at *yaml.Node, must string) error {
	return fmt.Errorf("mesh config line %d: %s must be %s", at.Line, path, must)
}

// listHosts lists every host with its value, in the order of the text.
func (m *meshText) listHosts() {
	size := 0
	for _, e := range m.entries {
		if e.hosts != nil {
			size += len(e.hosts.Content)
		}
	}
	m.settings = make([]setting, 0, size)
	for i, e := range m.entries {
		if e.hosts == nil {
			continue
		}
		for j, host := range e.hosts.Content {
			h := resolve(host)
			m.settings = append(m.settings, setting{host: h.Value, local: e.local, line: h.Line, entry: i, item: j})
		}
	}
}

// field returns the one member of a mapping with one of the names; nil where there is none. A merge key
// could bring in another, so there must be none.
func field(mapping *yaml.Node, names ...string) (key, value *yaml.Node, err error) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		k := resolve(mapping.Content[i])
		switch {
		case k.Tag == "!!merge":
			return nil, nil, fmt.Errorf("mesh config line %d: %s must be written out, not merged with <<", k.Line, names[0])
		case !slices.Contains(names, k.Value):
		case key != nil:
			return nil, nil, fmt.Errorf("mesh config line %d: %s must be there once", k.Line, names[0])
		default:
			key, value = mapping.Content[i], mapping.Content[i+1]
		}
	}
	return key, value, nil
}

// resolve returns the node that an alias stands for.
func resolve(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool {
	return n == nil || n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null"
}

// boolean reads YAML 1.1, as istiod does.
func boolean(n *yaml.Node) (value, ok bool) {
	if isNull(n) {
		return false, true
	}
	if n.Kind != yaml.ScalarNode || n.Style != 0 && n.Tag != "!!bool" {
		return false, false
	}
	switch n.Value {
	case "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y":
		return true, true
	case "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N":
		return false, true
	}
	return false, false
}

// sameBut reports whether two texts have the same values in everything but serviceSettings.
func (m *meshText) sameBut(other *meshText) bool {
	members := func(m *meshText) []*yaml.Node {
		if m.root == nil {
			return nil
		}
		if m.at < 0 {
			return m.root.Content
		}
		return slices.Concat(m.root.Content[:m.at], m.root.Content[m.at+2:])
	}
	return slices.EqualFunc(members(m), members(other), sameNode)
}

func sameNode(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor &&
		slices.EqualFunc(a.Content, b.Content, sameNode)
}

// splitLines finds the lines as the parser counts them.
func (m *meshText) splitLines() {
	if plainLines(m.text) {
		m.lines = make([]int, 0, strings.Count(m.text, "\n")+1)
		start := 0
		for line := range strings.Lines(m.text) {
			m.lines = append(m.lines, start)
			start += len(line)
		}
		return
	}
	start := 0
	if strings.HasPrefix(m.text, "\ufeff") {
		start = len("\ufeff")
	}
	for start < len(m.text) {
		m.lines = append(m.lines, start)
		at := start
		size := 0
		for at < len(m.text) && size == 0 {
			if size = terminator(m.text[at:]); size == 0 {
				at++
			}
		}
		if len(m.lines) == 1 && m.text[at:at+size] == "\r\n" {
			m.eol = "\r\n"
		}
		start = at + size
	}
}

// terminator returns the size of the line terminator that a text starts with; 0 where there is none.
func terminator(text string) int {
	switch text[0] {
	case '\n':
		return 1
	case '\r':
		if strings.HasPrefix(text, "\r\n") {
			return 2
		}
		return 1
	case "\u0085"[0], "\u2028"[0]:
		for _, long := range []string{"\u0085", "\u2028", "\u2029"} {
			if strings.HasPrefix(text, long) {
				return len(long)
			}
		}
	}
	return 0
}

// lineStart returns where a line starts, counted from 0; the line behind the last one starts at the end.
func (m *meshText) lineStart(line int) int {
	if line >= len(m.lines) {
		return len(m.text)
	}
	return m.lines[line]
}

// line returns a line without its terminator.
func (m *meshText) line(line int) string {
	text := m.text[m.lineStart(line):m.lineStart(line+1)]
	if cut, ok := strings.CutSuffix(text, "\r\n"); ok {
		return cut
	}
	if r, size := utf8.DecodeLastRuneInString(text); strings.ContainsRune("\n\r\u0085\u2028\u2029", r) {
		return text[:len(text)-size]
	}
	return text
}

// lineEnd returns where the terminator of a line starts.
func (m *meshText) lineEnd(line int) int { return m.lineStart(line) + len(m.line(line)) }

// offset returns where a node starts. Columns count characters.
func (m *meshText) offset(n *yaml.Node) int {
	at := m.lineStart(n.Line - 1)
	for range n.Column - 1 {
		_, size := utf8.DecodeRuneInString(m.text[at:])
		at += size
	}
	return at
}
