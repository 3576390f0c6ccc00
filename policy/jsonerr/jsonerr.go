package jsonerr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// TypeMessage says what a field must be and what was found in its place, without Go's names of types.
func TypeMessage(want reflect.Type, found jsontext.Value) string {
	must := "a " + want.Kind().String()
	switch want.Kind() {
	case reflect.Slice:
		must = "a list"
	case reflect.Struct, reflect.Map:
		must = "a mapping"
	case reflect.Bool:
		must = "true or false"
	case reflect.Int, reflect.Int64:
		must = "a whole number"
		if found.Kind() == jsontext.KindNumber {
			return fmt.Sprintf("%s must be %s", found, must)
		}
	}
	not := "a " + found.Kind().String()
	switch found.Kind() {
	case jsontext.KindBeginArray:
		not = "a list"
	case jsontext.KindBeginObject:
		not = "a mapping"
	case jsontext.KindTrue, jsontext.KindFalse:
		not = "true or false"
	}
	return fmt.Sprintf("must be %s, not %s", must, not)
}

// Value is one value of a JSON text: its path, and from where to where it reaches.
type Value struct {
	Path       string
	Start, End int64
}

// ValueAt returns the value whose first token (a scalar, or the bracket that opens it) ends at the byte
// offset or is the first to reach beyond it. There encoding/json reports a wrong type.
func ValueAt(data []byte, offset int64) Value {
	s := searcher{data: data, decoder: json.NewDecoder(bytes.NewReader(data)), offset: offset}
	s.walk("")
	return s.found
}

type searcher struct {
	data    []byte
	decoder *json.Decoder
	offset  int64
	found   Value
}

// walk reads one value and those in it until it has found the one that is wanted.
func (s *searcher) walk(path string) (done bool) {
	before := s.decoder.InputOffset()
	token, err := s.decoder.Token()
	if err != nil || s.decoder.InputOffset() >= s.offset {
		s.found = s.extent(path, before)
		return true
	}
	delim, opens := token.(json.Delim)
	if !opens {
		return false
	}
	for i := 0; s.decoder.More(); i++ {
		below := fmt.Sprintf("%s[%d]", path, i)
		if delim == '{' {
			key, err := s.decoder.Token()
			if err != nil {
				return true
			}
			below = strings.TrimPrefix(fmt.Sprintf("%s.%v", path, key), ".")
		}
		if s.walk(below) {
			return true
		}
	}
	_, err = s.decoder.Token() // the bracket that closes it
	return err != nil
}

// extent returns the value after an offset at which the token before it ends. One that breaks off reaches to
// the end of the text.
func (s *searcher) extent(path string, before int64) Value {
	rest := bytes.TrimLeft(s.data[before:], " \t\r\n,:")
	start := int64(len(s.data) - len(rest))
	decoder := json.NewDecoder(bytes.NewReader(rest))
	var raw json.RawMessage
	if err := decoder.Decode(&raw); err != nil {
		return Value{Path: path, Start: start, End: int64(len(s.data))}
	}
	return Value{Path: path, Start: start, End: start + decoder.InputOffset()}
}
