package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strings"
)

// referenceFolder holds the generated reference and nothing else.
const referenceFolder = "docs/reference"

// names makes the page of the labels and annotations of meshfence, from the comments of their constants.
func (s source) names() (pages, error) {
	found := map[string]string{}
	s.inspect(func(n ast.Node) {
		decl, ok := n.(*ast.GenDecl)
		if !ok || decl.Tok != token.CONST {
			return
		}
		for _, each := range decl.Specs {
			spec := each.(*ast.ValueSpec)
			for i, value := range spec.Values {
				if name := text(value); strings.HasPrefix(name, "meshfence.io/") && !strings.Contains(name, " ") {
					found[name] = meaning(spec.Names[i].Name, sentence(spec.Doc, spec.Comment, decl.Doc))
				}
			}
		}
	})
	var b bytes.Buffer
	b.WriteString(`# Labels and annotations

` + "`make generate`" + ` writes this page from the comments in the code. The names are contracts.

| name | what it is |
|---|---|
`)
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if found[name] == "" {
			return nil, fmt.Errorf("the constant of %s must have a comment", name)
		}
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, found[name])
	}
	return pages{referenceFolder + "/labels-and-annotations.md": b.Bytes()}, nil
}

// meaning returns a doc comment without the name that it starts with, and without links.
func meaning(name, comment string) string {
	comment = strings.TrimPrefix(strings.TrimPrefix(comment, name+" "), "is ")
	comment = strings.NewReplacer("[", "", "]", "").Replace(comment)
	if comment == "" {
		return ""
	}
	return strings.ToUpper(comment[:1]) + comment[1:]
}
