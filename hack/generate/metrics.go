package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"slices"
	"strings"
)

// metric is a metric as the code describes it.
type metric struct {
	name, kind, help string
	labels           []string
}

// metrics makes the page of the metrics, from the calls that make them.
func (s source) metrics() (pages, error) {
	var found []metric
	s.inspect(func(n ast.Node) {
		if call, ok := n.(*ast.CallExpr); ok {
			if m, ok := metricOf(call); ok {
				found = append(found, m)
			}
		}
	})
	slices.SortFunc(found, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	var b bytes.Buffer
	b.WriteString(`# Metrics

` + "`make generate`" + ` writes this page from the code. Every replica serves its metrics at /metrics. Those marked as
the leader's come from the replica that leads, and are 0 or absent on the others.

| metric | type | labels | what it says |
|---|---|---|---|
`)
	for _, m := range found {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.name, m.kind, strings.Join(m.labels, ", "), m.help)
	}
	return pages{referenceFolder + "/metrics.md": b.Bytes()}, nil
}

// metricOf returns the metric that a call of the Prometheus client makes.
func metricOf(call *ast.CallExpr) (metric, bool) {
	function, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return metric{}, false
	}
	kind := strings.TrimPrefix(function.Sel.Name, "New")
	m := metric{kind: strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(kind, "Vec"), "Func"))}
	options, ok := call.Args[0].(*ast.CompositeLit)
	switch {
	case ok:
		m.describe(options)
	case kind == "Desc" && len(call.Args) > 2:
		m.name, m.kind, m.help = text(call.Args[0]), "gauge", text(call.Args[1])
		m.labels = list(call.Args[2])
	}
	if strings.HasSuffix(kind, "Vec") && len(call.Args) > 1 {
		m.labels = list(call.Args[1])
	}
	return m, strings.HasPrefix(m.name, "meshfence_")
}

func (m *metric) describe(options *ast.CompositeLit) {
	for _, element := range options.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch key, ok := pair.Key.(*ast.Ident); {
		case !ok:
		case key.Name == "Name":
			m.name = text(pair.Value)
		case key.Name == "Help":
			m.help = text(pair.Value)
		case key.Name == "ConstLabels":
			m.labels = list(pair.Value)
		}
	}
}

// list returns the strings of a slice, or the keys of a map.
func list(e ast.Expr) []string {
	literal, ok := e.(*ast.CompositeLit)
	if !ok {
		return nil
	}
	var values []string
	for _, element := range literal.Elts {
		if pair, ok := element.(*ast.KeyValueExpr); ok {
			element = pair.Key
		}
		values = append(values, text(element))
	}
	return values
}
