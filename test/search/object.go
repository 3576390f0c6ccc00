package search

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy/object"
)

// Object is an object in JSON, as a user writes it.
type Object map[string]any

// Kind returns the kind of the object.
func (o Object) Kind() string { return text(o["kind"]) }

// Namespace returns its namespace.
func (o Object) Namespace() string { return text(o.metadata()["namespace"]) }

// Name returns its name.
func (o Object) Name() string { return text(o.metadata()["name"]) }

// Key names the object.
func (o Object) Key() object.Key {
	return object.Key{Kind: o.Kind(), Namespace: o.Namespace(), Name: o.Name()}
}

func (o Object) metadata() map[string]any {
	m, _ := o["metadata"].(map[string]any)
	return m
}

// strings returns a mapping of the metadata, such as labels.
func (o Object) strings(field string) map[string]string {
	given, _ := o.metadata()[field].(map[string]any)
	found := make(map[string]string, len(given))
	for key, value := range given {
		found[key] = text(value)
	}
	return found
}

// spec returns the spec of the object.
func (o Object) spec() map[string]any {
	m, _ := o["spec"].(map[string]any)
	return m
}

// raw returns the object in JSON.
func (o Object) raw() []byte {
	data, err := json.Marshal(map[string]any(o))
	if err != nil {
		panic(fmt.Sprintf("a tree of JSON values: %v", err)) // it came from JSON
	}
	return data
}

// clone returns a copy that shares nothing.
func (o Object) clone() Object {
	copied, _ := cloneTree(map[string]any(o)).(map[string]any)
	return copied
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

func cloneTree(node any) any {
	switch node := node.(type) {
	case map[string]any:
		copied := make(map[string]any, len(node))
		for key, value := range node {
			copied[key] = cloneTree(value)
		}
		return copied
	case []any:
		copied := make([]any, len(node))
		for i, value := range node {
			copied[i] = cloneTree(value)
		}
		return copied
	}
	return node
}

// decodeObject reads an object from JSON.
func decodeObject(data []byte) (Object, error) {
	var o Object
	if err := json.Unmarshal(data, &o); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	return o, nil
}

// places lists the paths of everything in a tree that can be taken out, the outermost first.
func places(node any) [][]string {
	var found [][]string
	var visit func(node any, path []string)
	visit = func(node any, path []string) {
		if len(path) > 0 {
			found = append(found, slices.Clone(path))
		}
		switch node := node.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(node)) {
				visit(node[key], append(path, key))
			}
		case []any:
			for i := range slices.Backward(node) {
				visit(node[i], append(path, strconv.Itoa(i)))
			}
		}
	}
	visit(node, nil)
	slices.SortStableFunc(found, func(a, b []string) int { return len(a) - len(b) })
	return found
}

// without takes out what is at a path, and reports whether anything did.
func without(node any, path []string) (any, bool) {
	switch node := node.(type) {
	case map[string]any:
		child, ok := node[path[0]]
		if !ok {
			return node, false
		}
		if len(path) == 1 {
			delete(node, path[0])
			return node, true
		}
		node[path[0]], ok = without(child, path[1:])
		return node, ok
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(node) {
			return node, false
		}
		if len(path) == 1 {
			return slices.Delete(node, i, i+1), true
		}
		var ok bool
		node[i], ok = without(node[i], path[1:])
		return node, ok
	}
	return node, false
}

// fields lists the paths of all leaves of an object below its spec and status, without indexes and without the keys
// of labels, sorted.
func (o Object) fields() []string {
	found := map[string]bool{}
	var visit func(node any, path string)
	visit = func(node any, path string) {
		switch node := node.(type) {
		case map[string]any:
			if len(node) == 0 {
				found[path] = true
			}
			for key, value := range node {
				if strings.ContainsAny(key, "./") || strings.HasSuffix(path, "abels") || strings.HasSuffix(path, "elector") && key != "labels" && key != "matchLabels" {
					key = "*"
				}
				visit(value, path+"."+key)
			}
		case []any:
			if len(node) == 0 {
				found[path] = true
			}
			for _, value := range node {
				visit(value, path)
			}
		default:
			found[path] = true
		}
	}
	for _, top := range []string{"spec", "status", "endpoints", "ports", "addressType"} {
		if o[top] != nil {
			visit(o[top], top)
		}
	}
	for _, field := range []string{"labels", "annotations"} {
		for key := range o.strings(field) {
			found["metadata."+field+"["+key+"]"] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// toObject returns a typed object as a tree.
func toObject(o any) Object {
	data, err := json.Marshal(o)
	if err != nil {
		panic(fmt.Sprintf("an object of Kubernetes: %v", err)) // it has no types that JSON does not know
	}
	decoded, err := decodeObject(data)
	if err != nil {
		panic(err)
	}
	return decoded
}

// into fills a typed object.
func (o Object) into(typed any) error {
	if err := json.Unmarshal(o.raw(), typed); err != nil {
		return fmt.Errorf("read %s: %w", o.Kind(), err)
	}
	return nil
}
