package admit

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
	raw      []byte
	shape    shape
	children []child // of a mapping or a list, once it is split
}

type shape uint8

const (
	unsplit shape = iota
	mapping
	list
)

// child is a member of a mapping, or an item of a list, which has no key.
type child struct {
	key []byte
	node
}

func (n *node) isNull() bool {
	return n.shape == unsplit && bytes.Equal(bytes.TrimSpace(n.raw), []byte("null"))
}

// find returns the index of the child of that name; in a list it is the length for the place behind the last
// item. It is negative where a mapping has no such member. The last of equal keys counts.
func (n *node) find(name string) (int, error) {
	if n.shape == list {
		return position(name, len(n.children))
	}
	for i := len(n.children) - 1; i >= 0; i-- {
		if string(n.children[i].key) == name {
			return i, nil
		}
	}
	return -1, nil
}

// child returns the child of that name, or nil. It is only good until the node changes.
func (n *node) child(name string) (*node, error) {
	i, err := n.find(name)
	if err != nil || i < 0 || i == len(n.children) {
		return nil, err
	}
	return &n.children[i].node, nil
}

// insert puts a raw child into a list before the item of that name; in a mapping it replaces the member.
func (n *node) insert(name string, raw []byte) error {
	i, err := n.find(name)
	switch {
	case err != nil:
		return err
	case n.shape == list:
		n.children = slices.Insert(n.children, i, child{node: node{raw: raw}})
	case i >= 0:
		n.children[i].node = node{raw: raw}
	default:
		n.children = append(n.children, child{[]byte(name), node{raw: raw}})
	}
	return nil
}

// delete takes a child away that is there.
func (n *node) delete(name string) error {
	if n.shape == mapping {
		n.children = slices.DeleteFunc(n.children, func(c child) bool { return string(c.key) == name })
		return nil
	}
	i, err := n.find(name)
	if err == nil {
		n.children = slices.Delete(n.children, i, i+1)
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
	children := make([]child, 0, 8)
	for i := skipSpace(data, 1); ; {
		switch {
		case i >= len(data):
			return errSyntax
		case data[i] == end:
			n.shape, n.children = shape, children
			return nil
		case data[i] == ',':
			i = skipSpace(data, i+1)
			continue
		}
		var key []byte
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
		children = append(children, child{key, node{raw: data[i:stop]}})
		i = skipSpace(data, stop)
	}
}

// readKey reads a key and its colon, and returns the index of the value behind them.
func readKey(data []byte, i int) (key []byte, next int, ok bool) {
	stop := skipValue(data, i)
	key, ok = unquote(data[i:stop])
	i = skipSpace(data, stop)
	if !ok || i >= len(data) || data[i] != ':' {
		return nil, 0, false
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

func unquote(data []byte) ([]byte, bool) {
	if len(data) < 2 || data[0] != '"' || data[len(data)-1] != '"' {
		return nil, false
	}
	if bytes.IndexByte(data, '\\') < 0 {
		return data[1 : len(data)-1], true
	}
	var s string
	err := json.Unmarshal(data, &s)
	return []byte(s), err == nil
}
