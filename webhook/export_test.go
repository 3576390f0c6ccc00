package webhook

import (
	"context"
	"net"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/policy/admit"
)

// Subject returns what a request is about.
func (a *Admission) Subject(req admission.Request) admit.Request { return a.subject(req) }

// Serve serves on a listener, with another time for a body.
func (s *Server) Serve(ctx context.Context, listener net.Listener, readTimeout time.Duration) error {
	s.readTimeout = readTimeout
	return s.serve(ctx, listener)
}

// ReadReview returns the request in a review.
func ReadReview(body []byte) (admission.Request, error) {
	r, err := newReader()(body)
	return r.request, err
}

// ParseReview returns the request in a review of any form.
func ParseReview(body []byte) (admission.Request, error) {
	r, err := parseReview(body)
	return r.request, err
}

// Invalid returns the status that refuses the object of a request for errors.
func Invalid(req admission.Request, errs field.ErrorList) metav1.Status {
	return *invalid(req, errs).Result
}
