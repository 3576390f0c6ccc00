package webhook_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/meshfence/meshfence/webhook"
)

// reviewsOf returns reviews in the forms that JSON allows, in which an API server need not write them.
func reviewsOf(object string) []string {
	return []string{
		`{"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {"uid": "1", "kind": {"group": "", "version": "v1", "kind": "Service"},
"name": "a", "namespace": "b", "operation": "CREATE", "userInfo": {"username": "c", "groups": ["d"], "extra": {"e": ["f"]}},
"object": ` + object + `, "oldObject": null, "dryRun": false, "options": {"kind": "CreateOptions"}}}`,
		`{"request": {"object": ` + object + `, "oldObject": ` + object + `, "operation": "UPDATE", "uid": "1", "dryRun": true}, "kind": "AdmissionReview"}`,
		`{"kind": "AdmissionReview", "request": {"object": null, "oldObject": ` + object + `}, "unknown": [{"object": 1}], "response": null}`,
		`{"kind": "AdmissionReview", "request": {"object": [], "object": ` + object + `, "unknown": {"object": {}}}}`,
		`{"kind": "AdmissionReview", "request": {"\u006fbject": ` + object + `}}`,
		`{"kind": "AdmissionReview", "request": {}}`,
	}
}

// TestReviewsAreReadAsTheLibraryReadsThem compares what is read with what encoding/json makes of a review.
func TestReviewsAreReadAsTheLibraryReadsThem(t *testing.T) {
	t.Parallel()
	for _, object := range []string{`{}`, `{"a": "\u003c", "b": [1, {"c": "}"}]}`, `{"metadata": {"name": "\ud800"}}`, ` "text" `, `null`} {
		for _, body := range reviewsOf(object) {
			assertReadAlike(t, []byte(body))
		}
	}
}

func assertReadAlike(t *testing.T, body []byte) {
	t.Helper()
	var want admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &want); err != nil || want.Kind != "AdmissionReview" || want.Request == nil {
		return
	}
	got, err := webhook.ReadReview(body)
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	want.Request.Options.Raw = nil // nobody reads the options, nor more of the user than the name
	want.Request.UserInfo = authenticationv1.UserInfo{Username: want.Request.UserInfo.Username}
	if diff := cmp.Diff(*want.Request, got.AdmissionRequest); diff != "" {
		t.Errorf("%s (-want +got):\n%s", body, diff)
	}
}

// FuzzReview: no panic, and a review reads the same in one pass and token by token.
func FuzzReview(f *testing.F) {
	for _, body := range reviewsOf(`{"a": "\u003c"}`) {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := webhook.ReadReview(body)
		want, wantErr := webhook.ParseReview(body)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("%s: error %v, want %v", body, err, wantErr)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	})
}
