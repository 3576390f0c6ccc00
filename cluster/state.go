package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"unique"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// State keeps an index equal to the cluster: Services and Namespaces, and the FenceConfig.
type State struct {
	index    *policy.Index
	source   policy.Source
	metrics  *Metrics
	recorder events.EventRecorder
	log      logr.Logger
	// completion puts the FenceConfig in force.
	completion *completion
	good       func(text string) // takes a config that is in force; nil keeps none

	registrations []toolscache.ResourceEventHandlerRegistration
	objects       *objects

	mu   sync.Mutex
	seen *corev1.ConfigMap // the last FenceConfig that was looked at, good or bad; nil for none
}

// CacheOptions says what a manager's cache, which [NewCache] must make, must hold for the state beside the stored kinds: names
// of Services, metadata of Namespaces, and the one ConfigMap. A caller that caches other ConfigMaps too adds their namespaces.
func CacheOptions(installNamespace string) cache.Options {
	one := fields.OneTermEqualSelector("metadata.name", policy.ConfigMapName)
	return cache.Options{
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Service{}:   {Transform: strip},
			&corev1.Namespace{}: {Transform: strip},
			&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{installNamespace: {FieldSelector: one}}, Transform: cache.TransformStripManagedFields()},
		},
	}
}

// service is what a cache holds of a Service. The rest, as small as the index keeps it, is there until it is in the index:
// when a cache fills, it holds that of all Services at once.
type service struct {
	identity

	rest *serviceRest
}

type serviceRest struct {
	fence map[string]string // the annotation, if there is one
	marks policy.Marks
	spec  policy.Spec
	uid   string // as the index takes it
}

// enter puts a Service into the index, unless it is there: a cache may pass what it holds once more. Only one handler may
// call it.
func (s *service) enter(index *policy.Index) {
	if s.rest == nil {
		return
	}
	host := hostname.Host{Namespace: s.namespace, Name: s.name}
	index.SetMarks(host, s.rest.marks)
	index.SetService(host, s.rest.fence)
	index.SetSpec(host, s.rest.spec)
	index.SetUID(host, s.rest.uid)
	s.rest = nil
}

// strip keeps of a Service, and of the metadata of a Namespace, what is read. Other objects pass as they are.
func strip(obj any) (any, error) {
	switch full := obj.(type) {
	case *corev1.Service:
		rest := &serviceRest{marks: policy.MarksOf(full.Labels, full.Annotations), spec: policy.SpecOf(specOf(full))}
		if fence, asks := full.Annotations[policy.FenceKey]; asks {
			rest.fence = map[string]string{policy.FenceKey: fence}
		}
		if full.DeletionTimestamp == nil {
			rest.uid = string(full.UID)
		}
		kept := &service{identityOf(full), rest}
		kept.namespace = unique.Make(kept.namespace).Value() // many Services have it
		return kept, nil
	case *metav1.PartialObjectMetadata:
		kept := &metav1.PartialObjectMetadata{TypeMeta: full.TypeMeta}
		kept.Name, kept.UID, kept.ResourceVersion = full.Name, full.UID, full.ResourceVersion
		kept.Labels = full.Labels // selectors of the FenceConfig may name any of them
		return kept, nil
	}
	return obj, nil
}

// specOf returns the spec of a Service as it is read.
func specOf(s *corev1.Service) object.ServiceSpec {
	spec := object.ServiceSpec{
		Selector: s.Spec.Selector, ClusterIP: s.Spec.ClusterIP, ClusterIPs: s.Spec.ClusterIPs,
		ExportTo: object.ExportTo(s.Annotations), Type: string(s.Spec.Type), ExternalName: s.Spec.ExternalName,
	}
	for _, port := range s.Spec.Ports {
		spec.Ports = append(spec.Ports, object.ServicePort{
			Port: int64(port.Port), Name: port.Name, Protocol: string(port.Protocol), AppProtocol: port.AppProtocol,
		})
	}
	return spec
}

// NewState feeds the index of the options from informers, which the caller starts. It returns when the API server has
// told what it needs for that, however long it takes; the error is that the context has ended.
func NewState(ctx context.Context, informers cache.Informers, o Options, recorder events.EventRecorder, log logr.Logger) (*State, error) {
	s := &State{
		index:    o.Index,
		source:   policy.ConfigMapSource(o.InstallNamespace, leak.IDs(o.Rules)),
		metrics:  o.Metrics,
		recorder: recorder,
		log:      log,
	}
	s.completion = newCompletion(o, s.filled, recorder, log)
	if o.Stale != nil {
		s.stale(o.Stale)
	}
	for _, watch := range []struct {
		object  client.Object
		handler toolscache.ResourceEventHandler
	}{
		{MetadataOf(object.KindNamespace), s.namespaces()},
		{&corev1.Service{}, s.services()},
		{&corev1.ConfigMap{}, s.configs()},
	} {
		err := Retry(ctx, log, fmt.Sprintf("watch %T", watch.object), func() error {
			informer, err := informers.GetInformer(ctx, watch.object, cache.BlockUntilSynced(false))
			if err != nil {
				return err
			}
			registration, err := informer.AddEventHandler(watch.handler)
			if err == nil {
				s.registrations = append(s.registrations, registration)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// watchObjects feeds the index with the stored kinds as well. Those that appear later keep nobody waiting, but those
// that the API server cannot tell of do.
func (s *State) watchObjects(ctx context.Context, mgr ctrl.Manager) error {
	s.objects = newObjects(mgr.GetCache(), mgr.GetRESTMapper(), s.index, s.log)
	err := Retry(ctx, s.log, "watch what rules relate", func() error {
		registrations, err := s.objects.watch(ctx)
		s.registrations = append(s.registrations, registrations...)
		return err
	})
	if err != nil {
		return err
	}
	return mgr.Add(s.objects)
}

// Synced reports whether everything that was in the cluster when the caches were filled is in the index, and so is
// what completes the FenceConfig, as far as it can be read.
func (s *State) Synced() bool { return s.filled() && s.completion.settled() }

func (s *State) filled() bool {
	for _, r := range s.registrations {
		if !r.HasSynced() {
			return false
		}
	}
	return true
}

// HasObjects reports whether all objects of those stored kinds are in the index. Synced does not wait for kinds that the
// API server did not have at the start.
func (s *State) HasObjects(kinds ...string) bool { return s.objects.have(kinds) }

// ErrNotSynced reports whether the index does not hold the whole cluster yet.
var ErrNotSynced = errors.New("not ready: the Services and Namespaces of the cluster are still being read")

// Check is a readyz check: it fails until Synced.
func (s *State) Check(*http.Request) error {
	if !s.Synced() {
		return ErrNotSynced
	}
	return nil
}

func (s *State) namespaces() toolscache.ResourceEventHandler {
	return handlers(
		func(n *metav1.PartialObjectMetadata) { s.index.SetNamespace(n.Name, n.Labels) },
		func(key toolscache.ObjectName) { s.index.DeleteNamespace(key.Name) },
	)
}

func (s *State) services() toolscache.ResourceEventHandler {
	return handlers(
		func(o *service) { o.enter(s.index) },
		func(key toolscache.ObjectName) {
			s.index.DeleteService(hostname.Host{Namespace: key.Namespace, Name: key.Name})
		},
	)
}

func (s *State) configs() toolscache.ResourceEventHandler {
	return handlers(s.reload, func(key toolscache.ObjectName) {
		if key.Namespace == s.source.InstallNamespace && key.Name == policy.ConfigMapName {
			s.deleted()
		}
	})
}

// handlers turns the events of an informer into calls for an object that is there and for one that is gone.
func handlers[T any](set func(T), remove func(toolscache.ObjectName)) toolscache.ResourceEventHandler {
	change := func(object any) {
		if typed, ok := object.(T); ok {
			set(typed)
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    change,
		UpdateFunc: func(_, object any) { change(object) },
		DeleteFunc: func(object any) {
			if key, err := toolscache.DeletionHandlingObjectToName(object); err == nil {
				remove(key)
			}
		},
	}
}

// reload puts a changed FenceConfig in force. A bad one is reported, and the last good one stays.
func (s *State) reload(object *corev1.ConfigMap) {
	if object.Namespace != s.source.InstallNamespace || object.Name != policy.ConfigMapName {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen != nil && policy.SameConfig(s.seen.Data, object.Data) {
		return
	}
	s.seen = object
	config, err := policy.ParseConfigMap(s.source, object.Data)
	if err != nil {
		s.completion.outdated()
		s.metrics.configReloaded(reloadInvalid)
		s.log.Error(err, "FenceConfig is not valid, the last good one stays in force")
		s.recorder.Eventf(object, nil, corev1.EventTypeWarning, "InvalidFenceConfig", "Reload", "%s", summary(err))
		return
	}
	s.completion.use(config, object)
	if s.good != nil {
		s.good(object.Data[policy.ConfigMapKey])
	}
}

// stale tells that the replica has started with the last good config.
func (s *State) stale(why error) {
	s.completion.outdated()
	outcome := reloadDeleted
	if isConfigError(why) {
		outcome = reloadInvalid
	}
	s.metrics.configReloaded(outcome)
	s.warn("FenceConfig cannot be used", "reason", why.Error())
	s.recorder.Eventf(s.configMap(), nil, corev1.EventTypeWarning, "StaleFenceConfig", "Start", "%s", why)
}

func (s *State) configMap() *corev1.ObjectReference { return fenceConfigOf(s.source.InstallNamespace) }

// warn logs at a level that logr does not have.
func (s *State) warn(message string, args ...any) {
	slog.New(logr.ToSlogHandler(s.log)).Warn(message, args...)
}

func (s *State) deleted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = nil
	s.completion.outdated()
	s.metrics.configReloaded(reloadDeleted)
	s.warn("FenceConfig was deleted, the last good one stays in force", "configMap", s.source.InstallNamespace+"/"+policy.ConfigMapName)
	s.recorder.Eventf(s.configMap(), nil, corev1.EventTypeWarning, "FenceConfigDeleted", "Reload",
		"the FenceConfig was deleted; the last good one stays in force, also when meshfence starts again")
}

// summary fits an error into the note of an Event, which takes 1024 bytes.
func summary(err error) string {
	const limit = 900
	text := err.Error()
	wrong, ok := errors.AsType[*policy.ConfigError](err)
	if len(text) <= limit || !ok {
		return text[:min(len(text), limit)]
	}
	return fmt.Sprintf("%.*s (the first of %d problems)", limit, wrong.Problems[0].String(), len(wrong.Problems))
}
