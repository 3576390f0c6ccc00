package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"reflect"
	"strconv"
	"strings"
)

// configRoot is the type of package policy that a FenceConfig is decoded into.
const configRoot = "configFile"

// fenceConfig makes the page of every field of the FenceConfig, from the comments of the types that it is decoded into.
func (s source) fenceConfig() (pages, error) {
	types := map[string]*ast.StructType{}
	s.inspect(func(n ast.Node) {
		if spec, ok := n.(*ast.TypeSpec); ok {
			if structure, ok := spec.Type.(*ast.StructType); ok && strings.HasSuffix(spec.Name.Name, "File") {
				types[spec.Name.Name] = structure
			}
		}
	})
	var b bytes.Buffer
	b.WriteString(`# FenceConfig

` + "`make generate`" + ` writes this page from the comments in policy/configfile.go.

The FenceConfig is the key config.yaml of the ConfigMap meshfence in the install namespace. Every replica reads a change
within seconds. A field that is not in this table is refused. [manifests/example/fenceconfig.yaml](../../manifests/example/fenceconfig.yaml)
is one to start from, and [examples](../../examples) has one for each kind of mesh.

| field | type | what it is |
|---|---|---|
`)
	if err := writeFields(&b, types, configRoot, ""); err != nil {
		return nil, err
	}
	return pages{referenceFolder + "/fenceconfig.md": b.Bytes()}, nil
}

// writeFields writes a line for each field of a type, and of the types in it.
func writeFields(b *bytes.Buffer, types map[string]*ast.StructType, name, prefix string) error {
	structure, ok := types[name]
	if !ok {
		return fmt.Errorf("found no type %s", name)
	}
	for _, field := range structure.Fields.List {
		tag, err := strconv.Unquote(field.Tag.Value)
		if err != nil {
			return fmt.Errorf("tag of a field of %s: %w", name, err)
		}
		path := prefix + reflect.StructTag(tag).Get("json")
		comment := sentence(field.Doc, field.Comment)
		if comment == "" {
			return fmt.Errorf("field %s of the FenceConfig must have a comment", path)
		}
		kind, below := typeOf(field.Type)
		fmt.Fprintf(b, "| `%s` | %s | %s |\n", path, kind, comment)
		if below == "" {
			continue
		}
		if strings.HasPrefix(kind, "list") {
			path += "[]"
		}
		if err := writeFields(b, types, below, path+"."); err != nil {
			return err
		}
	}
	return nil
}

// typeOf describes a type, and names the structure of the FenceConfig in it.
func typeOf(e ast.Expr) (kind, structure string) {
	switch e := e.(type) {
	case *ast.Ident:
		if strings.HasSuffix(e.Name, "File") {
			return "mapping", e.Name
		}
		return map[string]string{"bool": "true or false"}[e.Name] + strings.TrimPrefix(e.Name, "bool"), ""
	case *ast.ArrayType:
		of, below := typeOf(e.Elt)
		return "list of " + of, below
	case *ast.MapType:
		of, below := typeOf(e.Value)
		return "mapping to " + of, below
	case *ast.StarExpr:
		return typeOf(e.X)
	case *ast.SelectorExpr:
		return "label selector", ""
	}
	return "", ""
}
