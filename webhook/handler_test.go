package webhook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/policy/admit"
)

// slice is an EndpointSlice that somebody writes for a fenced Service; %s pads it.
const slice = `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice,
metadata: {name: x, namespace: shop, labels: {kubernetes.io/service-name: reviews}, annotations: {pad: %q}},
endpoints: [{addresses: [10.1.0.1]}]}`

// An object is judged whatever an API server may make of its size: six bytes for each <, in the new object and the old.
func TestPaddedObjectsAreJudged(t *testing.T) {
	t.Parallel()
	pad := strings.Repeat("<", 1<<20)
	r := request(t, fmt.Sprintf(slice, pad), strings.Replace(fmt.Sprintf(slice, pad), "10.1.0.1", "10.1.0.2", 1))
	body := reviewOf(t, r)
	if len(body) < 12<<20 {
		t.Fatalf("the review has %d bytes, not six for each of the padding", len(body))
	}
	response := serve(t, fenced).post(t, admit.ValidatePath, "application/json", body)
	if response.UID != r.UID || response.Allowed || !strings.Contains(response.Result.Message, "endpointslice-foreign-writer") {
		t.Errorf("uid %s, allowed = %t, result %+v", response.UID, response.Allowed, response.Result)
	}
}

// What is too large to be judged is refused, not unanswered: the UID is that of the request.
func TestTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	c := serve(t, fenced)
	r := request(t, fmt.Sprintf(slice, strings.Repeat("<", 6<<20)), "")
	response := c.post(t, admit.ValidatePath, "application/json", reviewOf(t, r))
	if response.UID != r.UID {
		t.Errorf("uid = %q, want %q", response.UID, r.UID)
	}
	assertRefused(t, response, http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge,
		"meshfence: too large to be judged: the review has more than 33554432 bytes")
	assertCounted(t, c, `meshfence_admission_requests_total{kind="EndpointSlice",operation="CREATE",outcome="too_large",path="/validate"} 1`)
}

// While bodies that never end take all the room, another one is refused and may come again, and small ones pass.
func TestBusy(t *testing.T) {
	t.Parallel()
	c := serveWithin(t, fenced, 512<<10)
	padded := request(t, fmt.Sprintf(slice, strings.Repeat("x", 300<<10)), "")
	body := reviewOf(t, padded)
	endless, stop := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+admit.ValidatePath, endless)
		if err != nil {
			t.Error(err)
			return
		}
		r.ContentLength = int64(len(body))
		r.Header.Set("Content-Type", "application/json")
		if response, err := c.Client().Do(r); err == nil {
			response.Body.Close()
		}
	}()
	if _, err := stop.Write(body[:len(body)-1]); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the body is held", func() bool { return held(t, c) > 300<<10 })

	response := c.post(t, admit.ValidatePath, "application/json", body)
	want := &admissionv1.AdmissionResponse{UID: padded.UID, Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusTooManyRequests, Reason: metav1.StatusReasonTooManyRequests,
		Message: "meshfence: busy: too much is being judged already, try again", Details: &metav1.StatusDetails{RetryAfterSeconds: 1},
	}}
	if diff := cmp.Diff(want, response); diff != "" {
		t.Errorf("response (-want +got):\n%s", diff)
	}
	assertCounted(t, c, `meshfence_admission_requests_total{kind="EndpointSlice",operation="CREATE",outcome="shed",path="/validate"} 1`)
	if small := c.ask(t, admit.MutatePath, request(t, service("shop", "reviews", ""), "")); !small.Allowed {
		t.Errorf("a small review is refused: %+v", small.Result)
	}

	stop.CloseWithError(io.ErrUnexpectedEOF)
	<-ended
	waitFor(t, "nothing is held", func() bool { return held(t, c) == 0 })
	if response := c.post(t, admit.ValidatePath, "application/json", body); response.Result.Code != http.StatusUnprocessableEntity {
		t.Errorf("not judged when there is room again: %+v", response.Result)
	}
}

// One that is larger than the room passes alone.
func TestLargerThanTheRoom(t *testing.T) {
	t.Parallel()
	c := serveWithin(t, fenced, 64<<10)
	response := c.ask(t, admit.ValidatePath, request(t, fmt.Sprintf(slice, strings.Repeat("x", 300<<10)), ""))
	if response.Result == nil || response.Result.Code != http.StatusUnprocessableEntity {
		t.Errorf("not judged: %+v", response.Result)
	}
}

// What is no review is counted: whoever sends it does not write of it into any other log.
func TestBadRequestsAreCounted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ contentType, body string }{
		"nothing":              {"application/json", ""},
		"no JSON":              {"application/json", "{"},
		"another object":       {"application/json", `{"kind": "Pod"}`},
		"another content type": {"text/plain", "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, fenced)
			if response := s.post(t, admit.ValidatePath, c.contentType, []byte(c.body)); response.Allowed || response.Result.Code != http.StatusBadRequest {
				t.Errorf("allowed = %t, result %+v", response.Allowed, response.Result)
			}
			assertCounted(t, s, `meshfence_admission_requests_total{kind="other",operation="other",outcome="bad_request",path="/validate"} 1`)
		})
	}
}

func reviewOf(t *testing.T, r *admissionv1.AdmissionRequest) []byte {
	t.Helper()
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: r,
	})
	if err != nil {
		t.Fatal(err)
	}
	// As the API server writes it.
	return bytes.ReplaceAll(body, []byte("<"), []byte(`\u003c`))
}

func held(t *testing.T, c *server) float64 {
	t.Helper()
	families, err := c.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "meshfence_admission_held_bytes" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	return -1
}

func assertCounted(t *testing.T, c *server, series string) {
	t.Helper()
	const head = "# HELP meshfence_admission_requests_total Admission requests by what became of them.\n# TYPE meshfence_admission_requests_total counter\n"
	if err := testutil.GatherAndCompare(c.registry, strings.NewReader(head+series+"\n"), "meshfence_admission_requests_total"); err != nil {
		t.Error(err)
	}
}

func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}
