package policy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy/jsonerr"
)

// Problem is one thing that is wrong with a FenceConfig.
type Problem struct {
	// File is the name that the reader of the config gave it.
	File string
	// Line counts from 1; 0 means that the file has no line for the field.
	Line int
	// Field is the path of the field, for example scope.namespaces[0].fence; empty for the whole file.
	Field string
	// Message says what the field must be.
	Message string
}

// String returns file:line: field: message.
func (p Problem) String() string {
	where := p.File
	if p.Line > 0 {
		where += ":" + strconv.Itoa(p.Line)
	}
	if p.Field != "" {
		where += ": " + p.Field
	}
	return where + ": " + p.Message
}

// ConfigError lists every problem of a FenceConfig.
type ConfigError struct{ Problems []Problem }

// Error joins the problems, one a line.
func (e *ConfigError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// document is a YAML file that knows the line of each of its fields.
type document struct {
	file     string
	lines    map[string]int
	problems []Problem
}

func (d *document) add(field, message string) {
	d.problems = append(d.problems, Problem{File: d.file, Line: d.line(field), Field: field, Message: message})
}

// err returns the problems in the order of their lines.
func (d *document) err() *ConfigError {
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return &ConfigError{Problems: d.problems}
}

// line returns the line of a field, or of the nearest field above it that the file has.
func (d *document) line(field string) int {
	for field != "" {
		if line, ok := d.lines[field]; ok {
			return line
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return 0
}

// decodeStrict fills into from the one YAML document that data must hold. Unknown fields, duplicate keys
// and wrong types are problems of the returned document; into is only to be used when it has none.
func decodeStrict(file string, data []byte, into any) *document {
	d := &document{file: file, lines: map[string]int{}}
	root := d.parse(data)
	if root == nil {
		return d
	}
	d.index(root, "", 0)
	asJSON, err := sigsyaml.YAMLToJSON(data)
	if err != nil {
		d.addSyntax(err)
		return d
	}
	strict, err := d.fill(asJSON, into)
	if err != nil {
		d.add("", err.Error())
	}
	for _, e := range strict {
		if field, ok := errors.AsType[kjson.FieldError](e); ok {
			d.add(field.FieldPath(), "unknown field")
		}
	}
	return d
}

// maxTypeErrors keeps the time short that a file takes in which everything has the wrong type.
const maxTypeErrors = 20

// fill decodes JSON. encoding/json stops at the first wrong type, and so each is put aside to find the next.
func (d *document) fill(data []byte, into any) (strict []error, err error) {
	for range maxTypeErrors {
		strict, err = kjson.UnmarshalStrict(data, into)
		typeError, ok := errors.AsType[*json.UnmarshalTypeError](err)
		if !ok {
			return strict, err
		}
		v := jsonerr.ValueAt(data, typeError.Offset)
		d.add(v.Path, jsonerr.TypeMessage(typeError.Type, data[v.Start:v.End]))
		data = slices.Concat(data[:v.Start], []byte("null"), data[v.End:])
	}
	return nil, nil
}

// parse returns the root of the document; nil means that there is a problem.
func (d *document) parse(data []byte) *yaml.Node {
	var root *yaml.Node
	for decoder := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var next yaml.Node
		err := decoder.Decode(&next)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			d.addSyntax(err)
			return nil
		}
		switch content := next.Content[0]; {
		case root == nil:
			root = content
		case content.ShortTag() != nullTag:
			d.problems = append(d.problems, Problem{File: d.file, Line: content.Line, Message: "must be the only document"})
			return nil
		}
	}
	if root == nil || root.ShortTag() == nullTag {
		d.add("", "must hold a FenceConfig, not nothing")
		return nil
	}
	return root
}

const nullTag = "!!null"

// maxDepth is more than a FenceConfig needs; the paths of what lies deeper would only cost memory.
const maxDepth = 20

// index records the line of every field and reports keys that are there twice.
func (d *document) index(node *yaml.Node, path string, depth int) {
	if depth > maxDepth {
		return
	}
	switch node.Kind {
	case yaml.MappingNode:
		first := map[string]int{}
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			field := strings.TrimPrefix(path+"."+key.Value, ".")
			if line, ok := first[key.Value]; ok {
				d.problems = append(d.problems, Problem{File: d.file, Line: key.Line, Field: field,
					Message: fmt.Sprintf("duplicate key, first set in line %d", line)})
				continue
			}
			first[key.Value], d.lines[field] = key.Line, key.Line
			d.index(value, field, depth+1)
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			field := path + "[" + strconv.Itoa(i) + "]"
			d.lines[field] = item.Line
			d.index(item, field, depth+1)
		}
	}
}

// addSyntax takes the line out of a YAML error, whose text is "yaml: line 3: what is wrong". The parser,
// unlike the scanner below it, counts lines from 0.
func (d *document) addSyntax(err error) {
	problem := Problem{File: d.file, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	if rest, ok := strings.CutPrefix(problem.Message, "line "); ok {
		number, text, _ := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); err == nil {
			problem.Line, problem.Message = line, text
		}
		for _, expected := range []string{"',' or ']'", "',' or '}'", "'-' indicator", "key", "node content", "<document start>"} {
			if problem.Message == "did not find expected "+expected {
				problem.Line++
			}
		}
	}
	d.problems = append(d.problems, problem)
}
