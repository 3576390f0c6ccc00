package object

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/meshfence/meshfence/policy/jsonerr"
	"github.com/meshfence/meshfence/policy/jsonview"
)

// Decode reads the view of an object of that kind. Field names are case-sensitive. The error says which
// field has the wrong type.
func Decode(kind string, data []byte) (*Object, error) {
	t, ok := types[kind]
	if !ok {
		return nil, fmt.Errorf("decode %s: no such view", kind)
	}
	object := &Object{Kind: kind}
	if err := t.decode(data, object); err != nil {
		return nil, fmt.Errorf("decode %s: %w", kind, err)
	}
	return object, nil
}

// decoder fills the metadata of an object and returns its spec.
type decoder[Spec any] func(data []byte, object *Object) (*Spec, error)

// into returns what decodes an object and sets the field that is that of its kind.
func into[View any](decode decoder[View], field func(*Object) **View) func([]byte, *Object) error {
	return func(data []byte, object *Object) (err error) {
		*field(object), err = decode(data, object)
		return err
	}
}

// bare returns what reads the metadata alone.
func bare() func(data []byte, object *Object) error {
	decode := decode[jsonview.Present]()
	return func(data []byte, object *Object) error {
		_, err := decode(data, object)
		return err
	}
}

// PodAddress reads the address of a Pod from its status; empty where it has none.
func PodAddress(data []byte) string {
	var view struct {
		Status struct {
			PodIP string `json:"podIP"`
		} `json:"status"`
	}
	if jsonview.Unmarshal(data, &view) != nil {
		return ""
	}
	return view.Status.PodIP
}

// decode returns what decodes an object that has a spec.
func decode[Spec any]() decoder[Spec] {
	type view struct {
		Metadata Metadata `json:"metadata"`
		Spec     Spec     `json:"spec"`
	}
	read := reader[view]()
	return func(data []byte, object *Object) (*Spec, error) {
		var v view
		if err := read(data, &v); err != nil {
			return nil, err
		}
		object.Metadata = v.Metadata
		return &v.Spec, nil
	}
}

// decodeWhole does the same for a kind that has no spec: its fields are beside the metadata, in a view that has both.
func decodeWhole[View, Fields any](parts func(*View) (Metadata, *Fields)) decoder[Fields] {
	read := reader[View]()
	return func(data []byte, object *Object) (*Fields, error) {
		v := new(View)
		if err := read(data, v); err != nil {
			return nil, err
		}
		metadata, fields := parts(v)
		object.Metadata = metadata
		return fields, nil
	}
}

// reader returns what fills a view. Nothing is refused that the API server lets pass.
func reader[View any]() func(data []byte, view *View) error {
	read := jsonview.Reader[View]()
	return func(data []byte, view *View) error {
		err := read(data, view)
		if wrong, ok := errors.AsType[*json.SemanticError](err); ok && wrong.GoType != nil {
			v := jsonerr.ValueAt(data, wrong.ByteOffset+1)
			return fmt.Errorf("%s: %s", cmp.Or(v.Path, "the object"), jsonerr.TypeMessage(wrong.GoType, data[v.Start:v.End]))
		}
		if wrong, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
			return wrong.Err
		}
		return err
	}
}
