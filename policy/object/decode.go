package object

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/meshfence/meshfence/policy/jsonerr"
)

// Decode reads the view of an object of that kind. Field names are case-sensitive. The error says which
// field has the wrong type.
func Decode(kind string, data []byte) (*Object, error) {
	err, object := errors.New("no such view"), &Object{Kind: kind}
	if t, ok := TypeOf(kind); ok {
		err = t.decode(data, object)
	}
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return object, nil
}

// into returns what decodes an object and sets the field that is that of its kind.
func into[View any](decode func([]byte, *Object) (*View, error), field func(*Object) **View) func([]byte, *Object) error {
	return func(data []byte, object *Object) (err error) {
		*field(object), err = decode(data, object)
		return err
	}
}

// bare reads the metadata alone.
func bare(data []byte, object *Object) error {
	_, err := decode[jsontext.Value](data, object)
	return err
}

// PodAddress reads the address of a Pod from its status; empty where it has none.
func PodAddress(data []byte) string {
	var view struct {
		Status struct {
			PodIP string `json:"podIP"`
		} `json:"status"`
	}
	if err := read(data, &view); err != nil {
		return ""
	}
	return view.Status.PodIP
}

// decode fills the metadata of the object and returns its spec.
func decode[Spec any](data []byte, object *Object) (*Spec, error) {
	var view struct {
		Metadata Metadata `json:"metadata"`
		Spec     Spec     `json:"spec"`
	}
	if err := read(data, &view); err != nil {
		return nil, err
	}
	object.Metadata = view.Metadata
	return &view.Spec, nil
}

// decodeWhole does the same for a kind that has no spec: its fields are beside the metadata.
func decodeWhole[Fields any](data []byte, object *Object) (*Fields, error) {
	var view struct {
		Metadata Metadata `json:"metadata"`
	}
	if err := read(data, &view); err != nil {
		return nil, err
	}
	fields := new(Fields)
	if err := read(data, fields); err != nil {
		return nil, err
	}
	object.Metadata = view.Metadata
	return fields, nil
}

// read fills a view. The time of a request is mostly spent here, and so it takes the Go JSON working group's
// decoder, which reads what encoding/json reads in half of the time (make bench prints the ratios). Nothing is
// refused that the API server lets pass.
func read(data []byte, view any) error {
	err := json.Unmarshal(data, view, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if wrong, ok := errors.AsType[*json.SemanticError](err); ok && wrong.GoType != nil {
		v := jsonerr.ValueAt(data, wrong.ByteOffset+1)
		return fmt.Errorf("%s: %s", cmp.Or(v.Path, "the object"), jsonerr.TypeMessage(wrong.GoType, data[v.Start:v.End]))
	}
	if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return wrong.Err
	}
	return err
}
