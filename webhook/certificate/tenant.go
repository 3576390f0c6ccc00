package certificate

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// Tenant knows whether the cluster is another installation's. It is safe for concurrent use.
type Tenant struct{ known, another atomic.Bool }

// Known reports whether the leader has looked yet.
func (t *Tenant) Known() bool { return t.known.Load() }

// Another reports whether another installation has the cluster.
func (t *Tenant) Another() bool { return t.another.Load() }

func (t *Tenant) set(another bool) {
	t.another.Store(another)
	t.known.Store(true)
}

// The reasons of Events about configurations.
const (
	reasonForeign   = "ForeignWebhookConfiguration"
	reasonContested = "ContestedCABundle"
)

// Lookout finds out whether another installation has the cluster, by whom the webhook configurations call. It must not be used
// concurrently.
type Lookout struct {
	Configurations WebhookConfigurations
	// Tell makes an Event about a configuration; nil makes none.
	Tell func(configuration client.Object, reason, note string)
	// Yields counts the configurations that are left to another writer; nil counts none.
	Yields prometheus.Gauge
	// Tenant is told whether a configuration is another installation's; nil is not.
	Tenant *Tenant

	foreign map[string]string
}

// Look looks once. Who may not read the configurations takes the cluster for its own.
func (l *Lookout) Look(ctx context.Context, reader client.Reader) error {
	configurations, err := l.Configurations.read(ctx, reader)
	if err != nil && !apierrors.IsForbidden(err) {
		return err
	}
	yields := 0
	for _, configuration := range configurations {
		if l.isForeign(ctx, configuration) {
			yields++
		}
	}
	l.found(yields > 0, yields)
	return err
}

// found keeps what a look has found.
func (l *Lookout) found(another bool, yields int) {
	if l.Tenant != nil {
		l.Tenant.set(another)
	}
	if l.Yields != nil {
		l.Yields.Set(float64(yields))
	}
}

// isForeign reports whether a configuration is another installation's, and tells so when that begins.
func (l *Lookout) isForeign(ctx context.Context, configuration webhookConfiguration) bool {
	if l.foreign == nil {
		l.foreign = map[string]string{}
	}
	service := configuration.foreign()
	if service != "" && service != l.foreign[configuration.String()] {
		note := fmt.Sprintf("its webhooks call Service %s and not %s: another installation of meshfence has the cluster, and this one leaves it alone; remove one of them",
			service, l.Configurations.Service)
		l.tell(ctx, configuration, reasonForeign, note)
	}
	l.foreign[configuration.String()] = service
	return service != ""
}

func (l *Lookout) tell(ctx context.Context, configuration webhookConfiguration, reason, note string) {
	logf.FromContext(ctx).Info(note, "configuration", configuration.String(), "event", reason)
	if l.Tell != nil {
		l.Tell(configuration.Object, reason, note)
	}
}

// lookEvery is how often a leader that keeps no caBundle looks.
const lookEvery = 10 * time.Second

// lookoutRunner looks while its replica leads.
type lookoutRunner struct {
	*Lookout

	reader client.Reader
	log    logr.Logger
}

// NeedLeaderElection reports whether only the leader looks.
func (r *lookoutRunner) NeedLeaderElection() bool { return true }

// Start looks until the context ends, and logs every other reason why it cannot.
func (r *lookoutRunner) Start(ctx context.Context) error {
	ctx = logf.IntoContext(ctx, r.log)
	told := ""
	for ctx.Err() == nil {
		err := r.Look(ctx, r.reader)
		if text := fmt.Sprint(err); err != nil && text != told && !errors.Is(err, context.Canceled) {
			r.log.Info("whether another installation has the cluster is not known", "reason", text)
			told = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
	return nil
}
