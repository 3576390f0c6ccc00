package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// kindReview is the kind of what an API server sends and gets back.
const kindReview = "AdmissionReview"

// review is an AdmissionReview as it is sent. The objects in its request are parts of the body, not copies: what a rule
// does not read costs no more than its text.
type review struct {
	metav1.TypeMeta

	request admission.Request
}

// parseReview reads a whole body.
func parseReview(body []byte) (review, error) {
	var r review
	err := r.read(bytes.NewBuffer(body), func(dec *jsontext.Decoder) ([]byte, error) {
		value, err := dec.ReadValue()
		end := dec.InputOffset()
		return body[end-int64(len(value)) : end], err
	})
	if err == nil && r.Kind != kindReview {
		err = fmt.Errorf("kind: %q must be %s", r.Kind, kindReview)
	}
	return r, err
}

// errHead ends the reading of a head.
var errHead = errors.New("the objects are not read")

// parseHead reads what an API server sends before the objects: what they are, who writes them, and the UID, without
// which no answer counts. What cannot be read is missing.
func parseHead(body io.Reader) review {
	var r review
	_ = r.read(body, func(*jsontext.Decoder) ([]byte, error) { return nil, errHead })
	return r
}

// read reads a review, and its objects by a function.
func (r *review) read(from io.Reader, object func(*jsontext.Decoder) ([]byte, error)) error {
	dec := jsontext.NewDecoder(from, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	small := map[string]json.RawMessage{}
	objects := map[string][]byte{}
	request := func(name string) (err error) {
		switch name {
		case "object", "oldObject":
			var raw []byte
			if raw, err = object(dec); string(raw) != "null" {
				objects[name] = raw
			}
		case "options":
			err = dec.SkipValue()
		default:
			var value jsontext.Value
			value, err = dec.ReadValue()
			small[name] = bytes.Clone(value)
		}
		return err
	}
	err := members(dec, func(name string) (err error) {
		switch name {
		case "kind":
			r.Kind, err = text(dec)
		case "apiVersion":
			r.APIVersion, err = text(dec)
		case "request":
			err = members(dec, request)
		default:
			err = dec.SkipValue()
		}
		return err
	})
	if err != nil && !errors.Is(err, errHead) {
		return fmt.Errorf("decode the review: %w", err)
	}
	packed, err := json.Marshal(small)
	if err == nil {
		err = json.Unmarshal(packed, &r.request.AdmissionRequest)
	}
	if err != nil {
		return fmt.Errorf("decode the review: %w", err)
	}
	r.request.Object.Raw, r.request.OldObject.Raw = objects["object"], objects["oldObject"]
	return nil
}

// members visits the members of an object, whose values the visitor reads.
func members(dec *jsontext.Decoder, visit func(name string) error) error {
	token, err := dec.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != jsontext.KindBeginObject {
		return fmt.Errorf("must be a mapping, not %s", token.Kind())
	}
	for dec.PeekKind() != jsontext.KindEndObject {
		token, err := dec.ReadToken()
		if err != nil {
			return err
		}
		if err := visit(token.String()); err != nil {
			return err
		}
	}
	_, err = dec.ReadToken()
	return err
}

// text reads a string.
func text(dec *jsontext.Decoder) (string, error) {
	token, err := dec.ReadToken()
	if err == nil && token.Kind() != jsontext.KindString {
		err = fmt.Errorf("must be a string, not %s", token.Kind())
	}
	if err != nil {
		return "", err
	}
	return token.String(), nil
}
