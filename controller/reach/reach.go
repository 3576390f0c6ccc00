package reach

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
)

const (
	// every is how often the API server is asked, and misses how often in a row a webhook must not have answered before
	// that is told: a replica that ends may have taken one with it.
	every  = 15 * time.Second
	misses = 2
)

// Options are what a Watch needs. All must be set but Explain.
type Options struct {
	// Namespace is the install namespace, and Name that of both webhook configurations.
	Namespace, Name string
	// Ask sends the probe through the API server, and returns the warnings that come back.
	Ask func(context.Context) (warnings []string, err error)
	// Explain says what is wrong with the webhook configuration of a kind; empty where nothing is known to be.
	Explain  func(ctx context.Context, kind string) string
	Recorder events.EventRecorder
	Metrics  *metric.Set
}

// Watch asks again and again while its replica leads.
type Watch struct {
	Options

	webhooks []*webhook
	// refused is why the API server refused to answer, as it was told last.
	refused string
}

// webhook is one that answers a probe.
type webhook struct {
	label, kind, path string
	// missed is how often in a row it has not answered, and told is what was told of that last.
	missed int
	told   string
}

// New returns a watch for one term of leadership.
func New(o Options) *Watch {
	return &Watch{Options: o, webhooks: []*webhook{
		{label: "mutating", kind: object.KindMutatingConfiguration, path: admit.MutatePath},
		{label: "validating", kind: object.KindValidatingConfiguration, path: admit.ValidatePath},
	}}
}

// Run asks until the context ends.
func (w *Watch) Run(ctx context.Context) error {
	for w.look(ctx); change.Sleep(ctx, every); w.look(ctx) {
	}
	return nil
}

// look asks once. An API server that refuses the probe for another reason may have asked only the first of the webhooks.
func (w *Watch) look(ctx context.Context) {
	warnings, err := w.Ask(ctx)
	if ctx.Err() != nil {
		return
	}
	refused := ""
	if err != nil {
		refused = err.Error()
	}
	if refused != "" && refused != w.refused {
		logf.FromContext(ctx).Info("it cannot be told whether the API server calls the webhooks", "reason", refused)
	}
	w.refused = refused
	for _, hook := range w.webhooks {
		switch {
		case slices.Contains(warnings, admit.ProbeAnswer(w.Namespace, hook.path)):
			w.called(ctx, hook)
		case err == nil:
			w.missed(ctx, hook, warnings)
		}
	}
}

func (w *Watch) called(ctx context.Context, hook *webhook) {
	w.Metrics.WebhookCalled.WithLabelValues(hook.label).Set(1)
	if hook.told != "" {
		logf.FromContext(ctx).Info("the API server calls the webhook again", "webhook", hook.label)
	}
	hook.missed, hook.told = 0, ""
}

func (w *Watch) missed(ctx context.Context, hook *webhook, warnings []string) {
	if hook.missed++; hook.missed < misses {
		return
	}
	w.Metrics.WebhookCalled.WithLabelValues(hook.label).Set(0)
	why := w.why(ctx, hook, warnings)
	if why == hook.told {
		return
	}
	hook.told = why
	logf.FromContext(ctx).Error(errors.New(why), "the API server does not call the webhook", "webhook", hook.label)
	about := &corev1.ObjectReference{APIVersion: admissionv1.SchemeGroupVersion.String(), Kind: hook.kind, Name: w.Name}
	w.Recorder.Eventf(about, nil, corev1.EventTypeWarning, "WebhookNotCalled", "Probe",
		"the API server does not call the %s webhook, so that nothing is %s: %s", hook.label, map[string]string{"mutating": "edited", "validating": "refused"}[hook.label], why)
}

// why says why a webhook may not be called.
func (w *Watch) why(ctx context.Context, hook *webhook, warnings []string) string {
	if w.Explain != nil {
		if why := w.Explain(ctx, hook.kind); why != "" {
			return fmt.Sprintf("%s %s: %s", hook.kind, w.Name, why)
		}
	}
	for _, warning := range warnings {
		if strings.HasPrefix(warning, "meshfence in namespace ") && strings.HasSuffix(warning, " "+hook.path) {
			return warning
		}
	}
	return fmt.Sprintf("see that %s %s is there as the manifests have it, that the API server trusts its caBundle, and that it reaches the Pods", hook.kind, w.Name)
}
