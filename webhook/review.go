package webhook

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/policy/jsonview"
)

// kindReview is the kind of what an API server sends and gets back.
const kindReview = "AdmissionReview"

// review is an AdmissionReview as it is sent. The objects in its request are parts of the body, not copies: what a rule
// does not read costs no more than its text.
type review struct {
	metav1.TypeMeta

	request admission.Request
}

// reader reads reviews.
type reader func(body []byte) (review, error)

// newReader returns what reads reviews: quickly those that an API server sends, and token by token all others.
func newReader() reader {
	quick := jsonview.Quick[reviewView]()
	return func(body []byte) (review, error) {
		if view := (reviewView{}); quick(body, &view) && view.Kind == kindReview {
			return view.review(), nil
		}
		return parseReview(body)
	}
}

// reviewView is the part of an AdmissionReview that is read.
type reviewView struct {
	APIVersion string      `json:"apiVersion"`
	Kind       string      `json:"kind"`
	Request    requestView `json:"request"`
}

type requestView struct {
	UID         types.UID                   `json:"uid"`
	Kind        metav1.GroupVersionKind     `json:"kind"`
	Resource    metav1.GroupVersionResource `json:"resource"`
	SubResource string                      `json:"subResource"`
	Name        string                      `json:"name"`
	Namespace   string                      `json:"namespace"`
	Operation   admissionv1.Operation       `json:"operation"`
	UserInfo    userView                    `json:"userInfo"`
	DryRun      *bool                       `json:"dryRun"`
	Object      jsonview.Part               `json:"object"`
	OldObject   jsonview.Part               `json:"oldObject"`
}

type userView struct {
	Username string `json:"username"`
}

func (v *reviewView) review() review {
	q := &v.Request
	return review{metav1.TypeMeta{APIVersion: v.APIVersion, Kind: v.Kind}, admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID: q.UID, Kind: q.Kind, Resource: q.Resource, SubResource: q.SubResource, Name: q.Name, Namespace: q.Namespace,
		Operation: q.Operation, UserInfo: authenticationv1.UserInfo{Username: q.UserInfo.Username}, DryRun: q.DryRun,
		Object: runtime.RawExtension{Raw: q.Object}, OldObject: runtime.RawExtension{Raw: q.OldObject},
	}}}
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
	request := func(name string) (err error) {
		if raw := r.object(name); raw != nil {
			var value []byte
			if value, err = object(dec); string(value) != "null" {
				*raw = value
			}
			return err
		}
		if field := r.field(name); field != nil {
			return json.UnmarshalDecode(dec, field)
		}
		return dec.SkipValue()
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
	return nil
}

// object returns where the text of an object belongs; nil if the member is none.
func (r *review) object(name string) *[]byte {
	switch name {
	case "object":
		return &r.request.Object.Raw
	case "oldObject":
		return &r.request.OldObject.Raw
	}
	return nil
}

// field returns where another member of a request belongs; nil for what nobody reads, such as the options.
func (r *review) field(name string) any {
	q := &r.request.AdmissionRequest
	switch name {
	case "uid":
		return &q.UID
	case "kind":
		return &q.Kind
	case "resource":
		return &q.Resource
	case "subResource":
		return &q.SubResource
	case "name":
		return &q.Name
	case "namespace":
		return &q.Namespace
	case "operation":
		return &q.Operation
	case "userInfo":
		return &struct {
			Username *string `json:"username"`
		}{&q.UserInfo.Username}
	case "dryRun":
		return &q.DryRun
	}
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
