package jsonview

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
)

// fill sets a value of the type that it was made for to what stands at a cursor, and reports whether that is ordinary.
type fill func(c *cursor, v reflect.Value) bool

// filler returns what fills values of a type. Nothing is ordinary of a type that no view needs.
func filler(t reflect.Type) fill {
	switch t {
	case reflect.TypeFor[json.RawMessage]():
		return fillRaw
	case reflect.TypeFor[Part]():
		return fillPart
	case reflect.TypeFor[Present]():
		return fillPresent
	case reflect.TypeFor[map[string]string]():
		return fillTexts
	}
	switch t.Kind() {
	case reflect.String:
		return fillText
	case reflect.Int64:
		return fillInteger
	case reflect.Bool:
		return fillBool
	case reflect.Struct:
		return fillStruct(t)
	case reflect.Pointer:
		return fillPointer(t.Elem())
	case reflect.Slice:
		return fillSlice(t)
	case reflect.Map:
		return fillMap(t)
	}
	return func(*cursor, reflect.Value) bool { return false }
}

func fillText(c *cursor, v reflect.Value) bool {
	text, ok := c.text()
	v.SetString(text)
	return ok
}

func fillInteger(c *cursor, v reflect.Value) bool {
	n, ok := c.integer()
	v.SetInt(n)
	return ok
}

func fillBool(c *cursor, v reflect.Value) bool {
	is := c.peek() == 't'
	v.SetBool(is)
	return is && c.word("true") || c.word("false")
}

func fillRaw(c *cursor, v reflect.Value) bool {
	part, ok := c.part()
	v.SetBytes(bytes.Clone(part))
	return ok && string(part) != "null"
}

func fillPart(c *cursor, v reflect.Value) bool {
	part, ok := c.part()
	if string(part) != "null" {
		v.SetBytes(part)
	}
	return ok
}

func fillPresent(c *cursor, v reflect.Value) bool {
	v.SetBool(c.peek() != 'n')
	return c.skip(0)
}

// part steps over a value and returns its text.
func (c *cursor) part() (part []byte, ok bool) {
	c.peek()
	start := c.at
	ok = c.skip(0)
	return c.data[start:c.at:c.at], ok
}

func fillTexts(c *cursor, v reflect.Value) bool {
	texts := map[string]string{}
	v.Set(reflect.ValueOf(texts))
	return c.each('{', '}', func() bool {
		key, ok := c.key()
		if _, twice := texts[key]; !ok || twice {
			return false
		}
		texts[key], ok = c.text()
		return ok
	})
}

// key reads the name of a member of a mapping of any names, and steps over its colon.
func (c *cursor) key() (key string, ok bool) {
	key, ok = c.text()
	return key, ok && c.take(':')
}

func fillMap(t reflect.Type) fill {
	if t.Key().Kind() != reflect.String {
		return func(*cursor, reflect.Value) bool { return false }
	}
	fillValue := filler(t.Elem())
	return func(c *cursor, v reflect.Value) bool {
		v.Set(reflect.MakeMap(t))
		return c.each('{', '}', func() bool {
			text, ok := c.key()
			key := reflect.ValueOf(text).Convert(t.Key())
			if !ok || v.MapIndex(key).IsValid() {
				return false
			}
			value := reflect.New(t.Elem()).Elem()
			ok = fillValue(c, value)
			v.SetMapIndex(key, value)
			return ok
		})
	}
}

func fillPointer(t reflect.Type) fill {
	fillValue := filler(t)
	return func(c *cursor, v reflect.Value) bool {
		value := reflect.New(t)
		v.Set(value)
		return fillValue(c, value.Elem())
	}
}

func fillSlice(t reflect.Type) fill {
	fillItem, empty := filler(t.Elem()), reflect.MakeSlice(t, 0, 0)
	return func(c *cursor, v reflect.Value) bool {
		v.Set(empty)
		return c.each('[', ']', func() bool {
			n := v.Len()
			if n == v.Cap() {
				v.Grow(max(1, 3*n)) // most lists have one item or many
			}
			v.SetLen(n + 1)
			return fillItem(c, v.Index(n))
		})
	}
}

// member is one field of a struct, or of one that is embedded in it.
type member struct {
	name  string
	index []int
	fill  fill
}

// maxMembers is how many fields a struct has at most.
const maxMembers = 64

func fillStruct(t reflect.Type) fill {
	members, ok := membersOf(t)
	if !ok {
		return func(*cursor, reflect.Value) bool { return false }
	}
	return func(c *cursor, v reflect.Value) bool {
		var seen uint64
		return c.each('{', '}', func() bool {
			name, ok := c.name()
			if !ok {
				return false
			}
			for i := range members {
				m := &members[i]
				if m.name != string(name) {
					continue
				}
				if seen&(1<<i) != 0 {
					return false
				}
				seen |= 1 << i
				return m.fill(c, v.FieldByIndex(m.index))
			}
			return c.skip(0)
		})
	}
}

// membersOf lists the members of a struct. It reports false for one in which another name counts than that of a tag, or
// one name stands for two members.
func membersOf(t reflect.Type) (members []member, ok bool) {
	names := map[string]bool{}
	for _, f := range reflect.VisibleFields(t) {
		name, tagged := f.Tag.Lookup("json")
		if f.Anonymous && !tagged && f.Type.Kind() == reflect.Struct || name == "-" {
			continue
		}
		if !tagged || name == "" || strings.Contains(name, ",") || names[name] {
			return nil, false
		}
		names[name] = true
		members = append(members, member{name, f.Index, filler(f.Type)})
	}
	return members, len(members) <= maxMembers
}
