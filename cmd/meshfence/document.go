package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"github.com/meshfence/meshfence/splice"
)

// document is a part of a file that a line of --- or ... ends, or the end of the file.
type document struct {
	// line is the one in the file on which the text begins, offset its first byte there.
	line, offset int
	text         []byte
}

// documents splits a file at its document markers, which count at the beginning of a line alone. A block scalar
// cannot hold one there.
func documents(data []byte) []document {
	var list []document
	next := document{line: 1}
	start := 0
	for at, line := 0, 1; at < len(data); line++ {
		end := at + bytes.IndexByte(data[at:], '\n') + 1
		if end == at {
			end = len(data)
		}
		if marker := data[at:end]; isMarker(marker, "---") || isMarker(marker, "...") {
			next.text = data[start:at]
			list = append(list, next)
			// What is behind --- on its line belongs to the document that it opens.
			start = at + len("---")
			next = document{line: line, offset: start}
		}
		at = end
	}
	next.text = data[start:]
	return append(list, next)
}

func isMarker(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.ContainsAny(rest[:1], " \t\r\n"))
}

// value is one object of a document: where it is when alone, and the object as JSON.
type value struct {
	document
	json []byte
}

// values reads a document as kubectl does: as JSON objects one after the other, or else as YAML. Keys that are there twice
// are errors, which name the line in the file.
func (d document) values() ([]value, error) {
	list, err := d.stream()
	if len(list) == 0 && err != nil { // YAML may begin like JSON: {kind: Service}
		return d.yaml()
	}
	return list, err
}

// stream reads JSON values.
func (d document) stream() ([]value, error) {
	var list []value
	decoder := jsontext.NewDecoder(bytes.NewReader(d.text))
	for {
		kind := decoder.PeekKind()
		read, err := decoder.ReadValue()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		end := int(decoder.InputOffset())
		if err != nil {
			return list, fmt.Errorf("line %d: must be JSON: %w", d.from(end).line, err)
		}
		at := d.from(end - len(read))
		if kind != jsontext.KindBeginObject {
			return nil, fmt.Errorf("line %d: must be an object", at.line)
		}
		at.text = at.text[:len(read)]
		list = append(list, value{at, at.text})
	}
}

// from returns what is at and behind an offset, without white space before it.
func (d document) from(offset int) document {
	text := bytes.TrimLeft(d.text[offset:], " \t\r\n")
	skipped := d.text[:len(d.text)-len(text)]
	return document{d.line + bytes.Count(skipped, []byte("\n")), d.offset + len(skipped), text}
}

func (d document) yaml() ([]value, error) {
	if d.begin() == 0 {
		return nil, nil
	}
	asJSON, err := splice.ToJSON(d.text)
	if err != nil {
		// Once more, so that the error counts the lines of the file.
		_, err = splice.ToJSON(append(bytes.Repeat([]byte("\n"), d.line-1), d.text...))
		return nil, errors.New(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "error converting YAML to JSON: "), "yaml: "))
	}
	if err := d.ends(); err != nil {
		return nil, err
	}
	if string(asJSON) == "null" {
		return nil, nil
	}
	return []value{{d, asJSON}}, nil
}

// ends returns an error where something follows the first value, which ToJSON passes over. A block mapping,
// whose first key mostly begins with a letter, ends with the document.
func (d document) ends() error {
	if _, text := d.first(); unicode.IsLetter(rune(text[0])) {
		return nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(d.text))
	var node yaml.Node
	if err := decoder.Decode(&node); err != nil {
		return nil //nolint:nilerr // ToJSON says what is no YAML
	}
	if err := decoder.Decode(&node); !errors.Is(err, io.EOF) {
		return errors.New("more follows the object that begins here: separate objects by a line of ---")
	}
	return nil
}

// begin returns the first line that holds more than a comment or a directive; 0 where none does.
func (d document) begin() int {
	line, _ := d.first()
	return line
}

// first returns that line and what it holds.
func (d document) first() (number int, text []byte) {
	number = d.line
	for line := range bytes.Lines(d.text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' && line[0] != '%' {
			return number, line
		}
		number++
	}
	return 0, nil
}
