package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/contest"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

const (
	// meshConfigGather is how long changes of the scope are gathered into one write, so that fencing a
	// thousand Services pushes istiod a few times and not a thousand.
	meshConfigGather = 200 * time.Millisecond
	// meshConfigRetry is how soon a failed write is tried again.
	meshConfigRetry = 2 * time.Second
)

// meshConfigs keeps the serviceSettings of the mesh ConfigMaps equal to the scope: hold meshConfig.
type meshConfigs struct {
	index    *policy.Index
	reader   client.Reader // uncached: a write needs the newest version
	writer   client.Client
	recorder events.EventRecorder
	metrics  *metrics
	mgr      ctrl.Manager
	resync   time.Duration

	// watches run until run ends, which waits for them.
	watches sync.WaitGroup
	// kept are the ConfigMaps that may hold entries of ours, with the end of their watch.
	kept map[client.ObjectKey]context.CancelFunc
	// told and contradicted are what was last reported of each, so that nothing is reported twice.
	told, contradicted map[client.ObjectKey]string
	contests           map[client.ObjectKey]*contest.Record
}

func newMeshConfigs(r *runner) *meshConfigs {
	return &meshConfigs{
		index:    r.Index,
		reader:   r.mgr.GetAPIReader(),
		writer:   r.writer,
		recorder: r.recorder,
		metrics:  r.metrics,
		mgr:      r.mgr,
		resync:   r.Resync,
		kept:     map[client.ObjectKey]context.CancelFunc{},
		told:     map[client.ObjectKey]string{},

		contradicted: map[client.ObjectKey]string{},
		contests:     map[client.ObjectKey]*contest.Record{},
	}
}

func (m *meshConfigs) contest(key client.ObjectKey) *contest.Record {
	r, ok := m.contests[key]
	if !ok {
		r = &contest.Record{}
		m.contests[key] = r
	}
	return r
}

// run reconciles after every change of the scope or of a mesh ConfigMap, until the context ends.
func (m *meshConfigs) run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	poke := func() {
		select {
		case changed <- struct{}{}:
		default: // one that waits already stands for this one too
		}
	}
	cancel := m.index.Subscribe(func(policy.Change) { poke() })
	defer m.watches.Wait()
	defer cancel()
	for {
		wait := m.resync
		if err := m.reconcile(ctx, poke); err != nil {
			wait = meshConfigRetry
		}
		if !sleep(ctx, wait, changed) || !sleep(ctx, meshConfigGather, nil) {
			return nil
		}
	}
}

// sleep waits for the time to pass or a signal, and says whether the context still runs.
func sleep(ctx context.Context, wait time.Duration, signal <-chan struct{}) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-signal:
	}
	return true
}

// errContested is reported while a write waits.
var errContested = errors.New("somebody else keeps taking the entries out, such as another installation of meshfence: " +
	"they are written ever more slowly; remove what does")

// reconcile brings every mesh ConfigMap in line. One that the config no longer names loses our entries.
func (m *meshConfigs) reconcile(ctx context.Context, poke func()) error {
	config := m.index.Config()
	wanted := map[client.ObjectKey]bool{}
	for _, name := range config.MeshConfigMaps {
		key := client.ObjectKey{Namespace: config.IstioNamespace, Name: name}
		wanted[key] = config.Holds.Has(policy.MeshConfig)
		if m.kept[key] != nil {
			continue
		}
		watching, cancel := context.WithCancel(ctx)
		if err := m.watch(watching, key, poke); err != nil {
			cancel()
			return fmt.Errorf("watch mesh ConfigMap %s: %w", key, err)
		}
		m.kept[key] = cancel
	}
	var errs []error
	for _, key := range slices.SortedFunc(maps.Keys(m.kept), compareKeys) {
		err := m.sync(ctx, key, wanted[key])
		m.report(ctx, key, err)
		errs = append(errs, err)
		if _, named := wanted[key]; !named && err == nil {
			m.kept[key]()
			delete(m.kept, key)
			m.metrics.meshConfigInSync.DeleteLabelValues(key.Name)
		}
	}
	return errors.Join(errs...)
}

// sync writes one ConfigMap if it differs from what the scope wants; without hold nothing of ours stays.
func (m *meshConfigs) sync(ctx context.Context, key client.ObjectKey, hold bool) error {
	var obj corev1.ConfigMap
	if err := m.reader.Get(ctx, key, &obj); err != nil {
		if apierrors.IsNotFound(err) && !hold {
			return nil
		}
		return fmt.Errorf("get mesh ConfigMap %s: %w", key, err)
	}
	plan, inLine, err := m.plan(&obj, hold)
	if err != nil {
		return err
	}
	m.contradict(&obj, plan.Contradictions)
	if inLine {
		return m.disown(ctx, &obj)
	}
	if wait := m.contest(key).Wait(plan.Owned, time.Now()); wait > 0 {
		return fmt.Errorf("mesh ConfigMap %s: %w", key, errContested)
	}
	if err := m.bring(ctx, &obj, hold); err != nil {
		return fmt.Errorf("write mesh ConfigMap %s: %w", key, err)
	}
	logf.FromContext(ctx).Info("brought mesh ConfigMap in line", "configMap", key.String(), "bytes", len(plan.Text))
	if m.contest(key).Wrote(plan.Owned, time.Now()) {
		m.metrics.contested.WithLabelValues(object.KindConfigMap).Inc()
	}
	return nil
}

// contradict tells of a person's entries that say something else than the scope, once for each set of them.
func (m *meshConfigs) contradict(object *corev1.ConfigMap, contradictions []meshconfig.Contradiction) {
	key, text := client.ObjectKeyFromObject(object), fmt.Sprint(contradictions)
	if text == m.contradicted[key] {
		return
	}
	m.contradicted[key] = text
	for _, c := range contradictions {
		m.recorder.Eventf(object, nil, corev1.EventTypeWarning, "ContradictsScope", "Hold", "line %d: %s", c.Line, c)
	}
}

// report tells of a ConfigMap that cannot hold the scope, once for each reason: strict Services are not held
// by meshConfig until it is mended.
func (m *meshConfigs) report(ctx context.Context, key client.ObjectKey, err error) {
	inSync, text := 1.0, ""
	if err != nil {
		inSync, text = 0, err.Error()
	}
	m.metrics.meshConfigInSync.WithLabelValues(key.Name).Set(inSync)
	if text == m.told[key] || apierrors.IsConflict(err) || ctx.Err() != nil {
		return
	}
	m.told[key] = text
	if err == nil {
		logf.FromContext(ctx).Info("mesh ConfigMap holds the scope again", "configMap", key.String())
		return
	}
	logf.FromContext(ctx).Error(err, "mesh ConfigMap does not hold the scope", "configMap", key.String())
	object := &corev1.ConfigMap{}
	object.Namespace, object.Name = key.Namespace, key.Name
	m.recorder.Eventf(object, nil, corev1.EventTypeWarning, "ScopeNotHeld", "Hold", "%.900s", text)
}

func compareKeys(a, b client.ObjectKey) int {
	return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
}

// watch watches one ConfigMap by name, since the manager's cache holds only the FenceConfig.
func (m *meshConfigs) watch(ctx context.Context, key client.ObjectKey, changed func()) error {
	one, err := cache.New(m.mgr.GetConfig(), cache.Options{
		HTTPClient: m.mgr.GetHTTPClient(),
		Scheme:     m.mgr.GetScheme(),
		Mapper:     m.mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{
			key.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", key.Name)},
		}}},
	})
	if err != nil {
		return err
	}
	informer, err := one.GetInformer(ctx, &corev1.ConfigMap{}, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { changed() },
		UpdateFunc: func(any, any) { changed() },
		DeleteFunc: func(any) { changed() },
	})
	if err != nil {
		return err
	}
	m.watches.Go(func() { _ = one.Start(ctx) }) // its only error is a second start
	return nil
}
