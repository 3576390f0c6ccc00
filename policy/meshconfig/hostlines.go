package meshconfig

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

// A mesh config of thousands of hosts is, but for a few lines, lists of which each line is one host, as blockEntries writes
// them. The YAML parser takes most of the time of every look at it, so that it is given the first line of each such run and
// blank lines in the place of the others, and the nodes of these are put into its tree.

// minRun is how many lines make it worth while.
const minRun = 16

// hostRun are lines of one indent that each are an item of a block list and a plain host.
type hostRun struct {
	line, column int // of the first host, as the parser counts
	hosts        []string
}

// cutRuns returns the text with the runs in it cut to their first lines, and the runs by those lines.
func cutRuns(text string) (short string, runs map[int]hostRun) {
	if !plainLines(text) {
		return text, nil
	}
	runs = map[int]hostRun{}
	var b strings.Builder
	var run hostRun
	kept, start, at, line := 0, 0, 0, 0 // start is where the run does
	flush := func() {
		if len(run.hosts) >= minRun {
			first := start + strings.IndexByte(text[start:], '\n')
			b.WriteString(text[kept:first])
			b.WriteString(strings.Repeat("\n", len(run.hosts)))
			kept, runs[run.line] = at, run
		}
		run = hostRun{}
	}
	for whole := range strings.Lines(text) {
		line++
		host, column, ok := hostLine(whole)
		if !ok || column != run.column {
			flush()
		}
		if ok && run.hosts == nil {
			run.line, run.column, start = line, column, at
		}
		if ok {
			run.hosts = append(run.hosts, host)
		}
		at += len(whole)
	}
	flush()
	return b.String() + text[kept:], runs
}

// plainLines reports whether all lines of a text end in the same one character, and columns count bytes from its start.
func plainLines(text string) bool {
	for _, other := range []string{"\r", "\u0085", "\u2028", "\u2029", "\ufeff"} {
		if strings.Contains(text, other) {
			return false
		}
	}
	return true
}

// hostLine returns the host of a whole line that is nothing but an item of a block list.
func hostLine(line string) (host string, column int, ok bool) {
	line, ended := strings.CutSuffix(line, "\n")
	item := strings.TrimLeft(line, " ")
	host, listed := strings.CutPrefix(item, "- ")
	return host, len(line) - len(host) + 1, ended && listed && scalar(host) == host
}

// restoreRuns puts the nodes of runs into the tree of a text that they were cut from. It reports whether each run is a part
// of a block list by its first line: then so are its other lines, because they have the same indent. What looks like one
// may be a part of a longer scalar.
func restoreRuns(n *yaml.Node, runs map[int]hostRun) bool {
	found := 0
	var visit func(n *yaml.Node)
	visit = func(n *yaml.Node) {
		if n.Kind != yaml.SequenceNode || isFlow(n) {
			for _, child := range n.Content {
				visit(child)
			}
			return
		}
		var whole []*yaml.Node
		for i, child := range n.Content {
			run, cut := runs[child.Line]
			if !cut || !run.begins(child) || i+1 < len(n.Content) && n.Content[i+1].Line < run.line+len(run.hosts) {
				visit(child)
				if whole != nil {
					whole = append(whole, child)
				}
				continue
			}
			if whole == nil {
				whole = append(make([]*yaml.Node, 0, len(n.Content)+len(run.hosts)), n.Content[:i]...)
			}
			found++
			whole = append(whole, child)
			rest := make([]yaml.Node, len(run.hosts)-1)
			for j := range rest {
				rest[j] = yaml.Node{Kind: yaml.ScalarNode, Tag: child.Tag, Value: run.hosts[j+1], Line: run.line + j + 1, Column: run.column}
				whole = append(whole, &rest[j])
			}
		}
		if whole != nil {
			n.Content = whole
		}
	}
	visit(n)
	return found == len(runs)
}

// begins reports whether a node is that of the first line of the run.
func (r hostRun) begins(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Style == 0 && n.Anchor == "" && n.Column == r.column && n.Value == r.hosts[0]
}
