package admit

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"

	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// The operations of JSON Patch that are used: the others differ between libraries or fail on what is absent.
const (
	opAdd    = "add"
	opRemove = "remove"
)

// Operation is one operation of a JSON Patch (RFC 6902).
type Operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value,omitempty"`
}

// Patch turns edits into the operations that apply them, in order, to an object in JSON. It returns nil
// where there is nothing to do, and an error for an edit that the object has no place for. It looks only at
// the mappings and lists along the paths of the edits.
func Patch(object []byte, edits []inject.Edit) ([]Operation, error) {
	if len(edits) == 0 {
		return nil, nil
	}
	root := &node{raw: object}
	var operations []Operation
	for _, e := range edits {
		var done []Operation
		var err error
		if e.Value == nil {
			done, err = root.remove(e.Path, e.Prune)
		} else {
			done, err = root.add(e.Path, e.Value)
		}
		if err != nil {
			return nil, fmt.Errorf("edit %s: %w", pointer(e.Path), err)
		}
		operations = append(operations, done...)
	}
	return operations, nil
}

// Apply returns the object with the edits made, in the way in which the API server applies a patch: fields
// that no edit names keep their value, but mappings along the paths are sorted by key. Without edits it
// returns the object itself.
func Apply(object []byte, edits []inject.Edit) ([]byte, error) {
	operations, err := Patch(object, edits)
	if err != nil || len(operations) == 0 {
		return object, err
	}
	encoded, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("encode patch: %w", err)
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		return nil, fmt.Errorf("decode patch: %w", err)
	}
	patched, err := patch.Apply(object)
	if err != nil {
		return nil, fmt.Errorf("apply patch: %w", err)
	}
	return patched, nil
}

var errNoPlace = errors.New("must lead through mappings and lists")

// add puts a value at the path. It creates absent parents together with the value, in one operation.
func (n *node) add(path object.Path, value any) ([]Operation, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode value: %w", err)
	}
	for i, name := range path {
		if err := n.split(); err != nil {
			return nil, err
		}
		child, err := n.child(name)
		if err != nil {
			return nil, err
		}
		last := i == len(path)-1
		if child != nil && !last && !child.isNull() {
			n = child
			continue
		}
		here, raw := pointer(path[:i+1]), wrap(path[i+1:], raw)
		operations := []Operation{{Op: opAdd, Path: here, Value: raw}}
		if child != nil && !last && n.shape == list { // an item that is null makes room for what replaces it
			operations = slices.Insert(operations, 0, Operation{Op: opRemove, Path: here})
			err = n.delete(name)
		}
		return operations, errors.Join(err, n.insert(name, raw))
	}
	return nil, errNoPlace
}

// remove takes away what is at the path, if anything does, and the parents that this leaves empty, up
// to prune of them.
func (n *node) remove(path object.Path, prune int) ([]Operation, error) {
	if len(path) == 0 {
		return nil, errNoPlace
	}
	parents := make([]*node, 0, len(path))
	for _, name := range path {
		if n.isNull() {
			return nil, nil
		}
		if err := n.split(); err != nil {
			return nil, err
		}
		child, err := n.child(name)
		if err != nil || child == nil {
			return nil, err
		}
		parents = append(parents, n)
		n = child
	}
	depth := len(path) - 1
	for ; prune > 0 && depth > 0 && len(parents[depth].children) == 1; prune-- {
		depth--
	}
	return []Operation{{Op: opRemove, Path: pointer(path[:depth+1])}}, parents[depth].delete(path[depth])
}

// wrap puts a value into the mappings and lists that the path names: a list where the element is the first
// or the next item, a mapping otherwise.
func wrap(path object.Path, value json.RawMessage) json.RawMessage {
	for _, name := range slices.Backward(path) {
		if name == "-" || name == "0" {
			value = slices.Concat([]byte("["), value, []byte("]"))
		} else {
			value = slices.Concat([]byte("{"), quote(name), []byte(":"), value, []byte("}"))
		}
	}
	return value
}

// pointer writes a path as a JSON Pointer (RFC 6901).
func pointer(path object.Path) string {
	var b strings.Builder
	for _, name := range path {
		b.WriteByte('/')
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1"))
	}
	return b.String()
}

// position reads an element of a path as the index of a list of that length; "-" is the place behind its
// last item, and so is the length itself.
func position(name string, length int) (int, error) {
	if name == "-" {
		return length, nil
	}
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i > length || strconv.Itoa(i) != name {
		return 0, fmt.Errorf("%q must be an index of a list of %d", name, length)
	}
	return i, nil
}
