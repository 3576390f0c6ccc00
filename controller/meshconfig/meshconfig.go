package meshconfig

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
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/contest"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

const (
	// gather is how long changes of the scope are gathered into one write after a quiet time, and spread how far apart
	// writes are while changes keep coming: istiod answers each with a full push to every proxy.
	gather = 200 * time.Millisecond
	spread = 2 * time.Second
	// retry is how soon a failed write is tried again.
	retry = 2 * time.Second
)

// Options are what a Keeper needs. All must be set.
type Options struct {
	Index *policy.Index
	// Reader reads past any cache: a write needs the newest version.
	Reader client.Reader
	Writer client.Client
	// FieldOwner is the manager of the fields that Writer writes.
	FieldOwner string
	Recorder   events.EventRecorder
	Metrics    *metric.Set
	// Watch calls changed whenever a ConfigMap comes, changes or goes, until the context ends. It runs what it starts in
	// the WaitGroup.
	Watch func(ctx context.Context, running *sync.WaitGroup, key client.ObjectKey, changed func()) error
	// Resync is how often the ConfigMaps are looked at although nothing changes.
	Resync time.Duration
}

// Keeper brings the mesh ConfigMaps in line.
type Keeper struct {
	Options

	// changed is set when the scope or a ConfigMap has changed.
	changed change.Signal
	// watches run until Run ends, which waits for them.
	watches sync.WaitGroup
	// kept are the ConfigMaps that may hold entries of ours, with the end of their watch.
	kept map[client.ObjectKey]context.CancelFunc
	// reported and contradicted are what was last reported of each, so that nothing is reported twice.
	reported, contradicted map[client.ObjectKey]string
	// nearlyFull are those that were told to be.
	nearlyFull map[client.ObjectKey]bool
	contests   map[client.ObjectKey]*contest.Record
	looked     looks
	// wrote is when a ConfigMap was written last.
	wrote time.Time
}

// New returns a keeper for one term of leadership.
func New(o Options) *Keeper {
	return &Keeper{
		Options:      o,
		changed:      change.NewSignal(),
		kept:         map[client.ObjectKey]context.CancelFunc{},
		reported:     map[client.ObjectKey]string{},
		contradicted: map[client.ObjectKey]string{},
		nearlyFull:   map[client.ObjectKey]bool{},
		contests:     map[client.ObjectKey]*contest.Record{},
		looked:       looks{last: map[client.ObjectKey]look{}},
	}
}

func (k *Keeper) contest(key client.ObjectKey) *contest.Record {
	r, ok := k.contests[key]
	if !ok {
		r = &contest.Record{}
		k.contests[key] = r
	}
	return r
}

// Run reconciles after every change of the scope or of a mesh ConfigMap, until the context ends.
func (k *Keeper) Run(ctx context.Context) error {
	cancel := k.Index.Subscribe(func(policy.Change) { k.changed.Set() })
	defer k.watches.Wait()
	defer cancel()
	for {
		wait := k.Resync
		if err := k.reconcile(ctx); err != nil {
			wait = retry
		}
		if !k.changed.WaitFor(ctx, wait) || !change.Sleep(ctx, max(gather, time.Until(k.wrote.Add(spread)))) {
			return nil
		}
	}
}

// reconcile brings every mesh ConfigMap in line. One that the config no longer names loses our entries.
func (k *Keeper) reconcile(ctx context.Context) error {
	config := k.Index.Config()
	wanted := map[client.ObjectKey]bool{}
	for _, name := range config.MeshConfigMaps {
		key := client.ObjectKey{Namespace: config.IstioNamespace, Name: name}
		wanted[key] = config.Holds.Has(policy.MeshConfig)
		if k.kept[key] != nil {
			continue
		}
		watching, cancel := context.WithCancel(ctx)
		if err := k.Watch(watching, &k.watches, key, func() { k.looked.forget(key); k.changed.Set() }); err != nil {
			cancel()
			return fmt.Errorf("watch mesh ConfigMap %s: %w", key, err)
		}
		k.kept[key] = cancel
	}
	var errs []error
	for _, key := range slices.SortedFunc(maps.Keys(k.kept), compareKeys) {
		look := k.look(wanted[key])
		if k.looked.same(key, look, k.Resync) {
			continue
		}
		k.looked.put(key, look) // before it is read, so that a change meanwhile counts
		err := k.sync(ctx, key, wanted[key])
		if err != nil {
			k.looked.forget(key)
		}
		k.report(ctx, key, err)
		errs = append(errs, err)
		if _, named := wanted[key]; !named && err == nil {
			k.kept[key]()
			delete(k.kept, key)
			k.Metrics.MeshConfigInSync.DeleteLabelValues(key.Name)
			k.Metrics.MeshConfigFull.DeleteLabelValues(key.Name)
		}
	}
	return errors.Join(errs...)
}

func compareKeys(a, b client.ObjectKey) int {
	return slices.Compare([]string{a.Namespace, a.Name}, []string{b.Namespace, b.Name})
}

// look returns by what a ConfigMap is to be judged now.
func (k *Keeper) look(hold bool) look {
	l := look{config: k.Index.Config(), at: time.Now()}
	if hold {
		l.entries = k.Index.ClusterLocal()
	}
	return l
}

// sync writes one ConfigMap if it differs from what the scope wants; without hold nothing of ours stays.
func (k *Keeper) sync(ctx context.Context, key client.ObjectKey, hold bool) error {
	var obj corev1.ConfigMap
	if err := k.Reader.Get(ctx, key, &obj); err != nil {
		if apierrors.IsNotFound(err) && !hold {
			return nil
		}
		return fmt.Errorf("get mesh ConfigMap %s: %w", key, err)
	}
	plan, err := k.plan(&obj, hold)
	if err != nil {
		return err
	}
	k.contradict(&obj, plan.Contradictions)
	k.measure(&obj, plan.Full)
	switch plan.Action(k.contest(key), time.Now()) {
	case Leave:
		return nil
	case Disown:
		return k.patch(ctx, &obj, map[string]any{"metadata": map[string]any{"managedFields": plan.Disowned}})
	case Rest:
		return fmt.Errorf("mesh ConfigMap %s: %w", key, errContested)
	case Bring:
	}
	err = k.bring(ctx, &obj, hold)
	k.wrote = time.Now()
	if err != nil {
		return fmt.Errorf("write mesh ConfigMap %s: %w", key, err)
	}
	logf.FromContext(ctx).Info("brought mesh ConfigMap in line", "configMap", key.String(), "bytes", len(plan.Text))
	if k.contest(key).Wrote(plan.Owned, time.Now()) {
		k.Metrics.Contested.WithLabelValues(object.KindConfigMap).Inc()
	}
	return nil
}

// plan plans for a ConfigMap; without hold nothing of ours stays.
func (k *Keeper) plan(object *corev1.ConfigMap, hold bool) (Plan, error) {
	var scope meshconfig.Scope
	if hold {
		scope = k.Index
	}
	return PlanFor(object, k.Index.Config().ClusterDomain, scope, k.FieldOwner)
}

// contradict tells of a user's entries that say something else than the scope, once for each set of them.
func (k *Keeper) contradict(object *corev1.ConfigMap, contradictions []meshconfig.Contradiction) {
	key, text := client.ObjectKeyFromObject(object), fmt.Sprint(contradictions)
	if text == k.contradicted[key] {
		return
	}
	k.contradicted[key] = text
	for _, c := range contradictions {
		k.Recorder.Eventf(object, nil, corev1.EventTypeWarning, "ContradictsScope", "Hold", "line %d: %s", c.Line, c)
	}
}

// measure tells how much room is left in a ConfigMap, and once while there is little: strict Services that find none are not
// held by meshConfig.
func (k *Keeper) measure(object *corev1.ConfigMap, full float64) {
	key := client.ObjectKeyFromObject(object)
	k.Metrics.MeshConfigFull.WithLabelValues(key.Name).Set(full)
	told := k.nearlyFull[key]
	if k.nearlyFull[key] = full >= meshconfig.NearlyFull; told || full < meshconfig.NearlyFull {
		return
	}
	k.Recorder.Eventf(object, nil, corev1.EventTypeWarning, "NearlyFull", "Hold",
		"%.0f %% of what this ConfigMap may hold is taken, and when it is full further strict Services are not held by meshConfig: fence Namespaces instead of single Services, which takes one entry for all of them", full*100)
}

// report tells of a ConfigMap that cannot hold the scope, once for each reason: strict Services are not held
// by meshConfig until it is fixed.
func (k *Keeper) report(ctx context.Context, key client.ObjectKey, err error) {
	inSync, text := 1.0, ""
	if err != nil {
		inSync, text = 0, err.Error()
	}
	k.Metrics.MeshConfigInSync.WithLabelValues(key.Name).Set(inSync)
	if text == k.reported[key] || apierrors.IsConflict(err) || ctx.Err() != nil {
		return
	}
	k.reported[key] = text
	if err == nil {
		logf.FromContext(ctx).Info("mesh ConfigMap holds the scope again", "configMap", key.String())
		return
	}
	logf.FromContext(ctx).Error(err, "mesh ConfigMap does not hold the scope", "configMap", key.String())
	object := &corev1.ConfigMap{}
	object.Namespace, object.Name = key.Namespace, key.Name
	k.Recorder.Eventf(object, nil, corev1.EventTypeWarning, "ScopeNotHeld", "Hold", "%.900s", text)
}
