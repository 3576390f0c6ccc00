package webhook

import (
	"context"
	"net"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
)

// Subject returns what a request is about.
func (a *Admission) Subject(req admission.Request) admit.Request { return a.subject(req) }

// LookForKinds looks for the stored kinds once, as Setup does, and then until the context ends or all are there.
func LookForKinds(ctx context.Context, informers cache.Informers, mapper meta.RESTMapper) (first, last error) {
	o := newObjects(informers, mapper, policy.NewIndex(&policy.Config{}), logr.Discard())
	_, first = o.watch(ctx)
	return first, o.Start(ctx)
}

// Serve serves on a listener, with another time for a body.
func (s *Server) Serve(ctx context.Context, listener net.Listener, readTimeout time.Duration) error {
	s.readTimeout = readTimeout
	return s.serve(ctx, listener)
}

// KeepLastGood returns what takes a config and what writes it.
func KeepLastGood(api client.Client, namespace string, log logr.Logger) (put func(string), start func(context.Context) error) {
	g := newLastGood(api, api, namespace, log)
	return g.put, g.Start
}

// ParseReview returns the request in a review.
func ParseReview(body []byte) (admission.Request, error) {
	r, err := parseReview(body)
	return r.request, err
}
