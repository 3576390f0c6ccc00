package jsonview

import (
	"reflect"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Reader returns what fills a view of that type. It fills it as the library does, which reads what encoding/json reads,
// apart from names of fields, which are case-sensitive; nothing is refused that the API server lets pass. Most objects are
// read in one pass that takes about half of the library's time. That pass gives up on what is out of the ordinary (a
// mistake, a field that is there twice, null in a field that is read), and then the library reads the whole text.
func Reader[View any]() func(data []byte, view *View) error {
	quick := Quick[View]()
	return func(data []byte, view *View) error {
		if quick(data, view) {
			return nil
		}
		return Unmarshal(data, view)
	}
}

// Unmarshal fills a view by the library alone.
func Unmarshal(data []byte, view any) error {
	return json.Unmarshal(data, view, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
}

// Quick returns what fills a view of that type, or reports false and leaves it empty.
func Quick[View any]() func(data []byte, view *View) bool {
	fill := filler(reflect.TypeFor[View]())
	readings := sync.Pool{New: func() any { return new(reading) }}
	return func(data []byte, view *View) bool {
		r := readings.Get().(*reading)
		defer func() {
			r.ResetBytes(nil) // nothing of a text stays
			clear(r.known[:])
			readings.Put(r)
		}()
		r.ResetBytes(data)
		v := reflect.ValueOf(view).Elem()
		if fill.whole(r, v) == nil {
			return true
		}
		v.SetZero()
		return false
	}
}

// Part is the text of a value, as a part of the text that was read and no copy of it; nil for null. The library does not
// read it.
type Part []byte

// Present reports whether a field is there, and not null.
type Present bool

// UnmarshalJSON notes that a field is there.
func (p *Present) UnmarshalJSON(text []byte) error {
	*p = string(text) != "null"
	return nil
}
