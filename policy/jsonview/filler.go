package jsonview

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/go-faster/jx"
)

// errUnusual says that the text is out of the ordinary.
var errUnusual = errors.New("out of the ordinary")

// fill sets a value of the type that it was made for to what a decoder comes to. The error is that this is out of the
// ordinary, or a mistake.
type fill func(d *jx.Decoder, v reflect.Value) error

// whole does so, and wants nothing else behind it.
func (f fill) whole(d *jx.Decoder, v reflect.Value) error {
	if err := f(d, v); err != nil {
		return err
	}
	if d.Skip() != io.EOF { //nolint:errorlint // jx wraps that of a text that is cut short
		return errUnusual
	}
	return nil
}

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
	return unusual
}

func unusual(*jx.Decoder, reflect.Value) error { return errUnusual }

// replacement is what takes the place of what is not UTF-8; bytes.ContainsRune would decode each rune to find it.
const replacement = string(utf8.RuneError)

// textOf returns a text. What the library replaces because it is not UTF-8 is unusual.
func textOf(raw []byte) (string, error) {
	if !utf8.Valid(raw) || bytes.Contains(raw, []byte(replacement)) {
		return "", errUnusual
	}
	return string(raw), nil
}

func readText(d *jx.Decoder) (string, error) {
	raw, err := d.StrBytes()
	if err != nil {
		return "", err
	}
	return textOf(raw)
}

func fillText(d *jx.Decoder, v reflect.Value) error {
	text, err := readText(d)
	v.SetString(text)
	return err
}

func fillInteger(d *jx.Decoder, v reflect.Value) error {
	n, err := d.Int64()
	v.SetInt(n)
	return err
}

func fillBool(d *jx.Decoder, v reflect.Value) error {
	is, err := d.Bool()
	v.SetBool(is)
	return err
}

func fillRaw(d *jx.Decoder, v reflect.Value) error {
	if d.Next() == jx.Null {
		return errUnusual
	}
	raw, err := d.Raw()
	v.SetBytes(bytes.Clone(raw))
	return err
}

func fillPart(d *jx.Decoder, v reflect.Value) error {
	if d.Next() == jx.Null {
		return d.Null()
	}
	raw, err := d.Raw()
	v.SetBytes(raw[:len(raw):len(raw)])
	return err
}

func fillPresent(d *jx.Decoder, v reflect.Value) error {
	v.SetBool(d.Next() != jx.Null)
	return d.Skip()
}

func fillTexts(d *jx.Decoder, v reflect.Value) error {
	texts := map[string]string{}
	v.Set(reflect.ValueOf(texts))
	return d.ObjBytes(func(d *jx.Decoder, raw []byte) error {
		key, err := textOf(raw)
		if _, twice := texts[key]; err != nil || twice {
			return errUnusual
		}
		texts[key], err = readText(d)
		return err
	})
}

func fillMap(t reflect.Type) fill {
	if t.Key().Kind() != reflect.String {
		return unusual
	}
	fillValue := filler(t.Elem())
	return func(d *jx.Decoder, v reflect.Value) error {
		v.Set(reflect.MakeMap(t))
		return d.ObjBytes(func(d *jx.Decoder, raw []byte) error {
			text, err := textOf(raw)
			key := reflect.ValueOf(text).Convert(t.Key())
			if err != nil || v.MapIndex(key).IsValid() {
				return errUnusual
			}
			value := reflect.New(t.Elem()).Elem()
			err = fillValue(d, value)
			v.SetMapIndex(key, value)
			return err
		})
	}
}

func fillPointer(t reflect.Type) fill {
	fillValue := filler(t)
	return func(d *jx.Decoder, v reflect.Value) error {
		value := reflect.New(t)
		v.Set(value)
		return fillValue(d, value.Elem())
	}
}

func fillSlice(t reflect.Type) fill {
	fillItem, empty := filler(t.Elem()), reflect.MakeSlice(t, 0, 0)
	return func(d *jx.Decoder, v reflect.Value) error {
		v.Set(empty)
		return d.Arr(func(d *jx.Decoder) error {
			n := v.Len()
			if n == v.Cap() {
				v.Grow(max(1, n))
			}
			v.SetLen(n + 1)
			return fillItem(d, v.Index(n))
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
		return unusual
	}
	return func(d *jx.Decoder, v reflect.Value) error {
		var seen uint64
		return d.ObjBytes(func(d *jx.Decoder, name []byte) error {
			for i := range members {
				m := &members[i]
				if m.name != string(name) {
					continue
				}
				if seen&(1<<i) != 0 {
					return errUnusual
				}
				seen |= 1 << i
				if len(m.index) == 1 {
					return m.fill(d, v.Field(m.index[0]))
				}
				return m.fill(d, v.FieldByIndex(m.index))
			}
			return d.Skip()
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
