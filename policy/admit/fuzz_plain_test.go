package admit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strconv"
	"testing"

	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// edited makes edits in the plainest way: it decodes everything and follows the words of inject.Edit.
func edited(t *testing.T, root any, edits []inject.Edit) any {
	t.Helper()
	for _, e := range edits {
		if e.Value == nil {
			root, _ = without(root, e.Path, e.Prune)
			continue
		}
		encoded, err := json.Marshal(e.Value)
		if err != nil {
			t.Fatal(err)
		}
		root = with(t, root, e.Path, decodeJSON(t, encoded))
	}
	return root
}

func with(t *testing.T, at any, path object.Path, value any) any {
	t.Helper()
	if len(path) == 0 {
		return value
	}
	if at == nil && (path[0] == "-" || path[0] == "0") {
		return []any{with(t, nil, path[1:], value)}
	}
	switch at := at.(type) {
	case nil:
		return map[string]any{path[0]: with(t, nil, path[1:], value)}
	case map[string]any:
		at[path[0]] = with(t, at[path[0]], path[1:], value)
		return at
	case []any:
		i, err := strconv.Atoi(path[0])
		if path[0] == "-" {
			i, err = len(at), nil
		}
		switch {
		case err != nil:
			t.Fatal(err)
		case len(path) == 1:
			return slices.Insert(at, i, value)
		case i == len(at):
			return append(at, with(t, nil, path[1:], value))
		}
		at[i] = with(t, at[i], path[1:], value)
		return at
	}
	t.Fatalf("%T on the way to %v", at, path)
	return nil
}

// without also returns how many parents may still go; it is negative once one has stayed.
func without(at any, path object.Path, prune int) (any, int) {
	emptied := func(child any, left int) bool { return left > 0 && (isEmpty(child)) }
	switch at := at.(type) {
	case map[string]any:
		child, ok := at[path[0]]
		if !ok {
			return at, -1
		}
		if len(path) == 1 {
			delete(at, path[0])
			return at, prune
		}
		child, left := without(child, path[1:], prune)
		at[path[0]] = child
		if !emptied(child, left) {
			return at, -1
		}
		delete(at, path[0])
		return at, left - 1
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i >= len(at) {
			return at, -1
		}
		if len(path) == 1 {
			return slices.Delete(at, i, i+1), prune
		}
		child, left := without(at[i], path[1:], prune)
		at[i] = child
		if !emptied(child, left) {
			return at, -1
		}
		return slices.Delete(at, i, i+1), left - 1
	}
	return at, -1
}

func isEmpty(value any) bool {
	switch value := value.(type) {
	case map[string]any:
		return len(value) == 0
	case []any:
		return len(value) == 0
	}
	return false
}

func decodeJSON(t *testing.T, data []byte) any {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	return value
}

func sortedValue(t *testing.T, value any) string {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

// repeatsKeys reports whether a mapping has a key twice: then fewer keys are left after decoding.
func repeatsKeys(t *testing.T, data []byte) bool {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	tokens := 0
	for {
		_, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		tokens++
	}
	return tokens != countTokens(decodeJSON(t, data))
}

func countTokens(value any) int {
	n := 1
	switch value := value.(type) {
	case map[string]any:
		n++
		for _, child := range value {
			n += 1 + countTokens(child)
		}
	case []any:
		n++
		for _, child := range value {
			n += countTokens(child)
		}
	}
	return n
}
