package splice

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// ErrPlace reports whether a text has no place for a change, for example because what would change is an alias.
var ErrPlace = errors.New("cannot be edited in place")

// Document returns the text of a document, changed so that it holds a value given in JSON. The error wraps [ErrPlace]
// where that cannot be done by edits; the text that comes out has been read back and holds the value.
func Document(text, want []byte) ([]byte, error) {
	target, err := decode(want)
	if err != nil {
		return nil, fmt.Errorf("decode the value: %w", err)
	}
	have, err := parse(text)
	if err != nil {
		return nil, err
	}
	if equal(have, target) {
		return text, nil
	}
	var root yaml.Node
	if err := yaml.Unmarshal(AsYAML(text), &root); err != nil || len(root.Content) != 1 {
		return nil, fmt.Errorf("%w: %w", ErrPlace, err)
	}
	e := newEditor(text, root.Content[0])
	if err := e.change(slot{node: root.Content[0], indent: -1}, have, target); err != nil {
		return nil, err
	}
	edited := e.apply()
	if got, err := parse(edited); err != nil || !equal(got, target) {
		return nil, fmt.Errorf("%w: its form is not known", ErrPlace)
	}
	return edited, nil
}

// parse reads a document as Kubernetes does.
func parse(text []byte) (any, error) {
	if json.Valid(text) {
		return decode(text)
	}
	converted, err := ToJSON(text)
	if err != nil {
		return nil, err
	}
	return decode(converted)
}

// ToJSON converts YAML as Kubernetes does. A key that is there twice is an error, but one that << merges and that the mapping
// sets itself is not, which YAMLToJSONStrict takes for a duplicate.
func ToJSON(text []byte) ([]byte, error) {
	converted, err := sigsyaml.YAMLToJSONStrict(text)
	var whole any
	if err != nil && bytes.Contains(text, []byte("<<")) && yaml.Unmarshal(text, &whole) == nil {
		return sigsyaml.YAMLToJSON(text)
	}
	return converted, err
}

func decode(data []byte) (any, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	return value, decoder.Decode(&value)
}

// AsYAML gives the escapes that JSON has and YAML has not another text of the same length, so that all else is where it was.
func AsYAML(text []byte) []byte {
	if !json.Valid(text) {
		return text
	}
	escape := regexp.MustCompile(`\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|.)`)
	return escape.ReplaceAllFunc(text, func(found []byte) []byte {
		if len(found) > 2 || found[1] == '/' {
			return bytes.Repeat([]byte("x"), len(found))
		}
		return found
	})
}

// equal compares values that decode returned. Numbers are equal where they are the same number.
func equal(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		other, ok := b.(json.Number)
		if !ok || a == other {
			return ok
		}
		x, errX := a.Float64()
		y, errY := other.Float64()
		return errX == nil && errY == nil && x == y
	case map[string]any:
		other, ok := b.(map[string]any)
		if !ok || len(a) != len(other) {
			return false
		}
		for key, value := range a {
			if v, ok := other[key]; !ok || !equal(value, v) {
				return false
			}
		}
		return true
	case []any:
		other, ok := b.([]any)
		return ok && slices.EqualFunc(a, other, equal)
	}
	return reflect.DeepEqual(a, b)
}

// cut is a part of the text that something else takes the place of.
type cut struct {
	from, to int
	with     string
}

// apply makes the cuts. Those at one place come in the order in which they were made. A text without a last line break
// has none afterwards either.
func (e *editor) apply() []byte {
	slices.SortStableFunc(e.cuts, func(a, b cut) int { return a.from - b.from })
	var out strings.Builder
	at := 0
	for _, c := range e.cuts {
		if c.from < at { // what it changes has gone
			continue
		}
		out.Write(e.text[at:c.from])
		out.WriteString(c.with)
		at = c.to
	}
	out.Write(e.text[at:])
	edited := out.String()
	if !bytes.HasSuffix(e.text, []byte("\n")) {
		edited = strings.TrimRight(edited, "\r\n")
	}
	return []byte(edited)
}
