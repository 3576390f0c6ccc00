package webhook

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admission/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// Options are what admission needs.
type Options struct {
	// Index answers for hosts.
	Index *policy.Index
	// Rules are those that the guard applies and that exemptions may name.
	Rules []leak.Rule
	// InstallNamespace is where the ConfigMap with the FenceConfig is.
	InstallNamespace string
	// Metrics count what is decided.
	Metrics *Metrics
	// Now returns the time; nil means time.Now.
	Now func() time.Time
	// Reader reads Services and Namespaces that the index does not know yet, past any cache.
	Reader client.Reader
	// BytesInFlight is how much of the bodies of requests is held at once; 0 means DefaultBytesInFlight. What does not
	// find room is refused, and may be sent again.
	BytesInFlight int64
	// Synced reports whether the index holds the whole cluster. Before that nothing is decided.
	Synced func() bool
}

func (o Options) validate() error {
	var errs []error
	for _, field := range []struct {
		name string
		set  bool
	}{
		{"Index", o.Index != nil}, {"Rules", len(o.Rules) > 0}, {"InstallNamespace", o.InstallNamespace != ""},
		{"Metrics", o.Metrics != nil}, {"Reader", o.Reader != nil}, {"Synced", o.Synced != nil},
	} {
		if !field.set {
			errs = append(errs, fmt.Errorf("%s must be set", field.name))
		}
	}
	return errors.Join(errs...)
}

// Admission answers admission requests. It is immutable and safe for concurrent use.
type Admission struct {
	Options

	guard *leak.Guard
	gate  *gate
}

// New returns the admission of these options.
func New(o Options) (*Admission, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("admission options: %w", err)
	}
	room := newGate(cmp.Or(o.BytesInFlight, DefaultBytesInFlight), o.Metrics.holds)
	return &Admission{Options: o, guard: leak.NewGuard(o.Rules), gate: room}, nil
}

// Mutator returns what answers on MutatePath.
func (a *Admission) Mutator() *Endpoint { return a.endpoint(admit.MutatePath, a.mutate) }

// Validator returns what answers on ValidatePath.
func (a *Admission) Validator() *Endpoint { return a.endpoint(admit.ValidatePath, a.validate) }

// handle decides one request on a route.
type handle func(context.Context, admission.Request) (answer, error)

func (a *Admission) endpoint(path string, h handle) *Endpoint {
	routes := newRoutes(path)
	handler := func(ctx context.Context, req admission.Request) admission.Response {
		ans := answer{outcome: outcomeError} // what a panic counts as
		observe := a.Metrics.begin(path, routes.kindLabel(req), req.Operation)
		defer func() { observe(ans.outcome) }()
		var err error
		if ans, err = a.checked(ctx, routes, req, h); err != nil {
			ans = a.lenient(failure(err))
		}
		return ans.Response
	}
	return &Endpoint{
		Webhook:    &admission.Webhook{Handler: admission.HandlerFunc(handler), RecoverPanic: new(true), LogConstructor: logger},
		admission:  a,
		routes:     routes,
		readReview: newReader(),
	}
}

// lenient lets pass what could not be judged where nothing of it would be refused: under audit and warn. It is counted as
// what it is.
func (a *Admission) lenient(ans answer) answer {
	if ans.outcome == outcomeBadRequest || !a.Synced() || a.Index.Enforces() {
		return ans
	}
	passed := allowed()
	passed.outcome, passed.Warnings = ans.outcome, []string{"meshfence has not judged this: " + ans.Result.Message}
	return passed
}

// checked refuses what admission does not take before it is decided.
func (a *Admission) checked(ctx context.Context, routes routes, req admission.Request, h handle) (answer, error) {
	if !routes.take(req) {
		return answer{}, &admit.BadRequest{Err: fmt.Errorf("%s of kind %q and resource %q is not for %s: the webhook configuration must match the table of kinds",
			req.Operation, req.Kind.String(), resourceName(req), routes.path)}
	}
	if len(req.Object.Raw) == 0 && req.Operation != admissionv1.Delete || len(req.OldObject.Raw) == 0 && req.Operation == admissionv1.Delete {
		return answer{}, &admit.BadRequest{Err: fmt.Errorf("%s %s: object must not be empty", req.Operation, req.Kind.Kind)}
	}
	if req.DryRun != nil && *req.DryRun && a.subject(req).IsProbe() {
		ans := allowed()
		ans.Warnings = []string{admit.ProbeAnswer(a.InstallNamespace, routes.path)}
		return ans, nil
	}
	return h(ctx, req)
}

// decide repeats pass until its view is missing nothing. Nothing is decided on an index that is not full.
func (a *Admission) decide(ctx context.Context, view *policy.View, pass func() error) error {
	if !a.Synced() {
		return cluster.ErrNotSynced
	}
	return cluster.Complete(ctx, a.Reader, view, pass)
}

func (a *Admission) subject(req admission.Request) admit.Request {
	s := admit.Request{Kind: object.KindIn(req.Kind.Group, req.Kind.Kind), Namespace: req.Namespace, Raw: req.Object.Raw, Writer: req.UserInfo.Username}
	s.Own = s.Writer == admit.OwnUser(a.InstallNamespace)
	switch req.Operation {
	case admissionv1.Update:
		s.Old = req.OldObject.Raw
	case admissionv1.Delete:
		s.Raw, s.Deleted = req.OldObject.Raw, true
	}
	return s
}

// logger keeps the user out of the log and costs less than the default, which renders the whole request.
func logger(base logr.Logger, req *admission.Request) logr.Logger {
	if req == nil {
		return base
	}
	return base.WithValues("kind", req.Kind.Kind, "namespace", req.Namespace, "name", req.Name, "requestID", req.UID)
}
