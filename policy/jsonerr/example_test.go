package jsonerr_test

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/meshfence/meshfence/policy/jsonerr"
)

func Example() {
	data := []byte(`{"spec": {"ports": "80"}}`)
	var into struct {
		Spec struct{ Ports []int }
	}
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](json.Unmarshal(data, &into)); ok {
		value := jsonerr.ValueAt(data, wrong.Offset)
		fmt.Println(value.Path, jsonerr.TypeMessage(wrong.Type, data[value.Start:value.End]))
	}
	// Output: spec.ports must be a list, not a string
}
