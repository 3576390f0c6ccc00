package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	kjson "sigs.k8s.io/json"
	sigsyaml "sigs.k8s.io/yaml"
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

// decodeStrict fills into from YAML. Unknown fields, duplicate keys and wrong types are problems of the
// returned document; into is only to be used when it has none.
func decodeStrict(file string, data []byte, into any) *document {
	doc := &document{file: file, lines: map[string]int{}}
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		doc.problems = append(doc.problems, syntaxProblem(file, err))
		return doc
	}
	if len(root.Content) > 0 {
		doc.index(root.Content[0], "")
	}
	if len(doc.problems) > 0 {
		return doc
	}
	asJSON, err := sigsyaml.YAMLToJSON(data)
	if err != nil {
		doc.problems = append(doc.problems, syntaxProblem(file, err))
		return doc
	}
	strict, err := kjson.UnmarshalStrict(asJSON, into)
	if typeError, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		doc.add(pathAt(asJSON, typeError.Offset), fmt.Sprintf("must be %s, not %s", kindName(typeError), typeError.Value))
	} else if err != nil {
		doc.add("", err.Error())
	}
	for _, e := range strict {
		if field, ok := errors.AsType[kjson.FieldError](e); ok {
			doc.add(field.FieldPath(), "unknown field")
		}
	}
	return doc
}

// index records the line of every field and reports keys that stand twice.
func (d *document) index(node *yaml.Node, path string) {
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(node.Content); i += 2 {
			key, value := node.Content[i], node.Content[i+1]
			field := strings.TrimPrefix(path+"."+key.Value, ".")
			if first, ok := d.lines[field]; ok {
				d.problems = append(d.problems, Problem{File: d.file, Line: key.Line, Field: field,
					Message: fmt.Sprintf("duplicate key, first set in line %d", first)})
				continue
			}
			d.lines[field] = key.Line
			d.index(value, field)
		}
	case yaml.SequenceNode:
		for i, item := range node.Content {
			field := path + "[" + strconv.Itoa(i) + "]"
			d.lines[field] = item.Line
			d.index(item, field)
		}
	}
}

// syntaxProblem takes the line out of a YAML error, whose text is "yaml: line 3: what is wrong".
func syntaxProblem(file string, err error) Problem {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	problem := Problem{File: file, Message: message}
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if number, text, ok := strings.Cut(rest, ": "); ok {
			problem.Line, _ = strconv.Atoi(number)
			problem.Message = text
		}
	}
	return problem
}

// kindName says what a field takes, without Go's names of types.
func kindName(err *json.UnmarshalTypeError) string {
	name := err.Type.Kind().String()
	switch {
	case name == "slice":
		return "a list"
	case name == "struct" || name == "map":
		return "a mapping"
	case name == "bool":
		return "true or false"
	case strings.HasPrefix(name, "int"):
		return "a whole number"
	}
	return "a " + name
}

// pathAt returns the path of the JSON value that ends at, or holds, the byte offset.
func pathAt(data []byte, offset int64) string {
	decoder := json.NewDecoder(bytes.NewReader(data))
	type level struct {
		array bool
		index int
		key   string
	}
	var levels []level
	wantKey := false
	for {
		token, err := decoder.Token()
		if err != nil {
			return ""
		}
		if delim, ok := token.(json.Delim); ok && (delim == '}' || delim == ']') {
			levels = levels[:len(levels)-1]
		} else {
			if n := len(levels); n > 0 && !levels[n-1].array && wantKey {
				levels[n-1].key, wantKey = token.(string), false
				continue
			}
			if n := len(levels); n > 0 && levels[n-1].array {
				levels[n-1].index++
			}
			if decoder.InputOffset() >= offset {
				break
			}
			if ok {
				levels = append(levels, level{array: delim == '[', index: -1})
			}
		}
		wantKey = len(levels) > 0 && !levels[len(levels)-1].array
	}
	var path strings.Builder
	for i, l := range levels {
		switch {
		case l.array:
			fmt.Fprintf(&path, "[%d]", l.index)
		case i > 0:
			path.WriteString("." + l.key)
		default:
			path.WriteString(l.key)
		}
	}
	return path.String()
}

// sortProblems orders problems by line and keeps the order in which they were found inside a line.
func sortProblems(problems []Problem) []Problem {
	slices.SortStableFunc(problems, func(a, b Problem) int { return a.Line - b.Line })
	return problems
}
