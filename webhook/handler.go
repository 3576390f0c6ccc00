package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// Endpoint answers reviews over HTTP, as the webhook in it does, but for how it reads them: within the bounds of a gate,
// up to what an API server can send (the webhook stops at 7 MiB, with an answer that does not count), and without a
// second copy of the objects. What it does not judge it refuses, under the UID of the request, so that no failure policy
// lets it pass.
type Endpoint struct {
	*admission.Webhook

	admission  *Admission
	routes     routes
	readReview reader
}

// ServeHTTP answers one review.
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.admission.Metrics.inFlight.Inc()
	defer e.admission.Metrics.inFlight.Dec()
	if r.Body == nil || r.Body == http.NoBody {
		e.refuseBad(w, review{}, errors.New("request body is empty"))
		return
	}
	if contentType := r.Header.Get("Content-Type"); contentType != "application/json" {
		e.refuseBad(w, review{}, fmt.Errorf("contentType=%s, expected application/json", contentType))
		return
	}
	length := r.ContentLength
	if length < 0 {
		e.refuseBad(w, review{}, errors.New("the length of the body must be given"))
		return
	}
	body, release, err := e.admission.gate.read(r.Context(), r.Body, length)
	defer release()
	if errors.Is(err, errBusy) || errors.Is(err, errLarge) {
		e.turnAway(w, io.MultiReader(bytes.NewReader(body), r.Body), err)
		return
	}
	if err != nil {
		e.refuseBad(w, review{}, err)
		return
	}
	review, err := e.readReview(body)
	if err != nil {
		e.refuseBad(w, review, err)
		return
	}
	e.answer(w, review, e.Handle(r.Context(), review.request))
}

// maxHead is how much is read of a review that is turned away.
const maxHead = 64 << 10

// turnAway refuses a review of which only the head is read. The rest is dropped as it comes: a sender that is cut off
// might not read the answer.
func (e *Endpoint) turnAway(w http.ResponseWriter, body io.Reader, why error) {
	review := parseHead(io.LimitReader(body, maxHead))
	_, _ = io.Copy(io.Discard, body) // what does not come does not matter
	ans := e.admission.lenient(turnedAway(why))
	e.admission.Metrics.begin(e.routes.path, e.routes.kindLabel(review.request), review.request.Operation)(ans.outcome)
	ans.UID = review.request.UID
	e.answer(w, review, ans.Response)
}

// turnedAway returns the answer to what is not judged: later, or not at all.
func turnedAway(why error) answer {
	status := metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusRequestEntityTooLarge, Reason: metav1.StatusReasonRequestEntityTooLarge,
		Message: "meshfence: " + why.Error(),
	}
	if !errors.Is(why, errBusy) {
		return refused(status, outcomeTooLarge)
	}
	// Clients of Kubernetes wait so many seconds and ask again by themselves.
	status.Code, status.Reason = http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests
	status.Details = &metav1.StatusDetails{RetryAfterSeconds: 1}
	return refused(status, outcomeShed)
}

// refuseBad refuses what is no review.
func (e *Endpoint) refuseBad(w http.ResponseWriter, asked review, err error) {
	e.admission.Metrics.begin(e.routes.path, e.routes.kindLabel(asked.request), asked.request.Operation)(outcomeBadRequest)
	e.answer(w, asked, admission.Errored(http.StatusBadRequest, err))
}

func (e *Endpoint) answer(w http.ResponseWriter, asked review, response admission.Response) {
	answered := admissionv1.AdmissionReview{TypeMeta: asked.TypeMeta, Response: &response.AdmissionResponse}
	if answered.APIVersion == "" {
		answered.APIVersion, answered.Kind = admissionv1.SchemeGroupVersion.String(), kindReview
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answered) // the only error is that nobody listens any more
}
