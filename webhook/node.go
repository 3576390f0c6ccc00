package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
)

var errSyntax = errors.New("must be valid JSON")

// node is one value of the working copy of an object. It stays raw until an edit leads through it, so that
// a patch costs no decoding of the whole object.
type node struct {
	raw   []byte
	shape shape
	// members are those of a mapping, items those of a list, once it is split.
	members map[string]*node
	items   []*node
}

type shape uint8

const (
	unsplit shape = iota
	mapping
	list
)

func (n *node) isNull() bool {
	return n.shape == unsplit && bytes.Equal(bytes.TrimSpace(n.raw), []byte("null"))
}

// size is the number of children.
func (n *node) size() int { return len(n.members) + len(n.items) }

// child returns the child of that name, or nil.
func (n *node) child(name string) (*node, error) {
	if n.shape == mapping {
		return n.members[name], nil
	}
	i, err := position(name, len(n.items))
	if err != nil || i == len(n.items) {
		return nil, err
	}
	return n.items[i], nil
}

// insert puts a child into a list before the item of that name; in a mapping it replaces the member.
func (n *node) insert(name string, child *node) error {
	if n.shape == mapping {
		n.members[name] = child
		return nil
	}
	i, err := position(name, len(n.items))
	if err == nil {
		n.items = slices.Insert(n.items, i, child)
	}
	return err
}

func (n *node) delete(name string) error {
	if n.shape == mapping {
		delete(n.members, name)
		return nil
	}
	i, err := position(name, len(n.items))
	if err == nil && i < len(n.items) {
		n.items = slices.Delete(n.items, i, i+1)
	}
	return err
}

// split finds the children of a mapping or a list. It skips over them without looking inside.
func (n *node) split() error {
	if n.shape != unsplit {
		return nil
	}
	data := bytes.TrimSpace(n.raw)
	if len(data) < 2 || data[0] != '{' && data[0] != '[' {
		return errNoPlace
	}
	shape, end := mapping, byte('}')
	if data[0] == '[' {
		shape, end = list, ']'
	}
	members, items := map[string]*node{}, []*node(nil)
	for i := skipSpace(data, 1); ; {
		switch {
		case i >= len(data):
			return errSyntax
		case data[i] == end:
			n.shape, n.members, n.items = shape, members, items
			return nil
		case data[i] == ',':
			i = skipSpace(data, i+1)
			continue
		}
		var key string
		if shape == mapping {
			var ok bool
			if key, i, ok = readKey(data, i); !ok {
				return errSyntax
			}
		}
		stop := skipValue(data, i)
		if stop == i {
			return errSyntax
		}
		if child := (&node{raw: data[i:stop]}); shape == mapping {
			members[key] = child
		} else {
			items = append(items, child)
		}
		i = skipSpace(data, stop)
	}
}

// readKey reads a key and its colon, and returns the index of the value behind them.
func readKey(data []byte, i int) (key string, next int, ok bool) {
	stop := skipValue(data, i)
	key, ok = unquote(data[i:stop])
	i = skipSpace(data, stop)
	if !ok || i >= len(data) || data[i] != ':' {
		return "", 0, false
	}
	return key, skipSpace(data, i+1), true
}

func skipSpace(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\n' || data[i] == '\t' || data[i] == '\r') {
		i++
	}
	return i
}

// skipValue returns the index behind the value that starts at i.
func skipValue(data []byte, i int) int {
	depth := 0
	for i < len(data) {
		switch data[i] {
		case '"':
			i = skipString(data, i)
		case '{', '[':
			depth++
			i++
		case '}', ']':
			if depth == 0 {
				return i
			}
			depth--
			i++
		case ',', ':', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return i
			}
			i++
			continue
		default:
			i++
			continue
		}
		if depth == 0 {
			return i
		}
	}
	return i
}

// skipString returns the index behind the string that starts at i.
func skipString(data []byte, i int) int {
	for i++; i < len(data); i++ {
		switch data[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(data)
}

func quote(s string) []byte {
	quoted, err := json.Marshal(s)
	if err != nil {
		return []byte(`""`)
	}
	return quoted
}

func unquote(data []byte) (string, bool) {
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' {
		return "", false
	}
	if !bytes.ContainsRune(data, '\\') {
		return string(data[1 : len(data)-1]), true
	}
	var s string
	err := json.Unmarshal(data, &s)
	return s, err == nil
}
