package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// typeMessage says what a field must be and what it is, without Go's names of types.
func typeMessage(err *json.UnmarshalTypeError) string {
	var want string
	switch name := err.Type.Kind().String(); {
	case name == "slice":
		want = "a list"
	case name == "struct" || name == "map":
		want = "a mapping"
	case name == "bool":
		want = "true or false"
	case strings.HasPrefix(name, "int"):
		want = "a whole number"
	default:
		want = "a " + name
	}
	got := err.Value
	if number, ok := strings.CutPrefix(got, "number "); ok {
		return fmt.Sprintf("%s must be %s", number, want)
	}
	switch got {
	case "array":
		got = "a list"
	case "object":
		got = "a mapping"
	case "bool":
		got = "true or false"
	default:
		got = "a " + got
	}
	return fmt.Sprintf("must be %s, not %s", want, got)
}

// value is one value of a JSON text: its path, and from where to where it reaches.
type value struct {
	path       string
	start, end int64
}

// valueAt returns the value in valid JSON whose first token (a scalar, or the bracket that opens it) ends
// at the byte offset, which is where encoding/json reports a wrong type.
func valueAt(data []byte, offset int64) value {
	s := valueSearch{data: data, decoder: json.NewDecoder(bytes.NewReader(data)), offset: offset}
	s.walk("")
	return s.found
}

type valueSearch struct {
	data    []byte
	decoder *json.Decoder
	offset  int64
	found   value
}

// walk reads one value and those in it until it has found the one that is wanted.
func (s *valueSearch) walk(path string) (done bool) {
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

// extent returns the value after an offset at which the token before it ends.
func (s *valueSearch) extent(path string, before int64) value {
	rest := bytes.TrimLeft(s.data[before:], " \t\r\n,:")
	start := int64(len(s.data) - len(rest))
	decoder := json.NewDecoder(bytes.NewReader(rest))
	var raw json.RawMessage
	if err := decoder.Decode(&raw); err != nil {
		return value{path: path, start: start, end: start}
	}
	return value{path: path, start: start, end: start + decoder.InputOffset()}
}
