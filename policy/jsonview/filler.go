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

// reading is one text that is read.
type reading struct {
	jx.Decoder

	// known are texts that were there before, each at the place of its hash. Objects name the same hosts, subsets and headers
	// again and again.
	known [64]string
}

// hashed is how much of a text its hash depends on.
const hashed = 32

// fill sets a value of the type that it was made for to what a decoder comes to. The error is that this is out of the
// ordinary, or a mistake.
type fill func(r *reading, v reflect.Value) error

// whole does so, and wants nothing else behind it.
func (f fill) whole(r *reading, v reflect.Value) error {
	if err := f(r, v); err != nil {
		return err
	}
	if r.Skip() != io.EOF { //nolint:errorlint // jx wraps that of a text that is cut short
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

func unusual(*reading, reflect.Value) error { return errUnusual }

// replacement is what takes the place of what is not UTF-8; bytes.ContainsRune would decode each rune to find it.
const replacement = string(utf8.RuneError)

// text returns a text, which shares its memory with one that was the same. What the library replaces because it is not
// UTF-8 is unusual.
func (r *reading) text(raw []byte) (string, error) {
	known := &r.known[hash(raw)%uint32(len(r.known))]
	if *known == string(raw) {
		return *known, nil
	}
	if !utf8.Valid(raw) || bytes.Contains(raw, []byte(replacement)) {
		return "", errUnusual
	}
	*known = string(raw)
	return *known, nil
}

// hash returns a number that few texts share, of which the first bytes of a long one are enough.
func hash(raw []byte) uint32 {
	var sum uint32
	for _, b := range raw[:min(len(raw), hashed)] {
		sum = 31*sum + uint32(b)
	}
	return sum
}

func readText(r *reading) (string, error) {
	raw, err := r.StrBytes()
	if err != nil {
		return "", err
	}
	return r.text(raw)
}

func fillText(r *reading, v reflect.Value) error {
	text, err := readText(r)
	v.SetString(text)
	return err
}

func fillInteger(r *reading, v reflect.Value) error {
	n, err := r.Int64()
	v.SetInt(n)
	return err
}

func fillBool(r *reading, v reflect.Value) error {
	is, err := r.Bool()
	v.SetBool(is)
	return err
}

func fillRaw(r *reading, v reflect.Value) error {
	if r.Next() == jx.Null {
		return errUnusual
	}
	raw, err := r.Raw()
	v.SetBytes(bytes.Clone(raw))
	return err
}

func fillPart(r *reading, v reflect.Value) error {
	if r.Next() == jx.Null {
		return r.Null()
	}
	raw, err := r.Raw()
	v.SetBytes(raw[:len(raw):len(raw)])
	return err
}

func fillPresent(r *reading, v reflect.Value) error {
	v.SetBool(r.Next() != jx.Null)
	return r.Skip()
}

func fillTexts(r *reading, v reflect.Value) error {
	texts := map[string]string{}
	v.Set(reflect.ValueOf(texts))
	return r.ObjBytes(func(_ *jx.Decoder, raw []byte) error {
		key, err := r.text(raw)
		if _, twice := texts[key]; err != nil || twice {
			return errUnusual
		}
		texts[key], err = readText(r)
		return err
	})
}

func fillMap(t reflect.Type) fill {
	if t.Key().Kind() != reflect.String {
		return unusual
	}
	fillValue := filler(t.Elem())
	return func(r *reading, v reflect.Value) error {
		v.Set(reflect.MakeMap(t))
		return r.ObjBytes(func(_ *jx.Decoder, raw []byte) error {
			text, err := r.text(raw)
			key := reflect.ValueOf(text).Convert(t.Key())
			if err != nil || v.MapIndex(key).IsValid() {
				return errUnusual
			}
			value := reflect.New(t.Elem()).Elem()
			err = fillValue(r, value)
			v.SetMapIndex(key, value)
			return err
		})
	}
}

func fillPointer(t reflect.Type) fill {
	fillValue := filler(t)
	return func(r *reading, v reflect.Value) error {
		value := reflect.New(t)
		v.Set(value)
		return fillValue(r, value.Elem())
	}
}

func fillSlice(t reflect.Type) fill {
	fillItem, empty := filler(t.Elem()), reflect.MakeSlice(t, 0, 0)
	return func(r *reading, v reflect.Value) error {
		v.Set(empty)
		return r.Arr(func(*jx.Decoder) error {
			n := v.Len()
			if n == v.Cap() {
				v.Grow(max(1, n))
			}
			v.SetLen(n + 1)
			return fillItem(r, v.Index(n))
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
	return func(r *reading, v reflect.Value) error {
		var seen uint64
		return r.ObjBytes(func(_ *jx.Decoder, name []byte) error {
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
					return m.fill(r, v.Field(m.index[0]))
				}
				return m.fill(r, v.FieldByIndex(m.index))
			}
			return r.Skip()
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
