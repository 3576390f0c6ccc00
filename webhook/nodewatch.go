package webhook

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	toolscache "k8s.io/client-go/tools/cache"

	"github.com/meshfence/meshfence/policy"
)

// nodesSettle is how long changes of Nodes are collected before they count.
const nodesSettle = 2 * time.Second

// nodesAgree is how long after a change every replica has counted the same Nodes.
const nodesAgree = 2 * nodesSettle

// kindNode is what localities are read from.
const kindNode = "Node"

// NeedLeaderElection makes a manager start the state in every replica.
func (s *State) NeedLeaderElection() bool { return false }

// Start watches the Nodes whenever the FenceConfig needs them, until the context ends.
func (s *State) Start(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.nodes.wake:
		}
		if err := s.nodes.follow(ctx); err != nil {
			return err
		}
	}
}

func (n *nodes) needed() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.config.NeedsNodes()
}

// follow watches the Nodes while they are needed.
func (n *nodes) follow(ctx context.Context) error {
	if !n.needed() {
		return nil
	}
	informer := toolscache.NewSharedIndexInformer(n.observed(), metadataOf(kindNode), 0, nil)
	if err := informer.SetTransform(stripNode); err != nil {
		return fmt.Errorf("watch Nodes: %w", err)
	}
	if err := informer.SetWatchErrorHandlerWithContext(n.retrying); err != nil {
		return fmt.Errorf("watch Nodes: %w", err)
	}
	changed := make(chan struct{}, 1)
	registration, err := informer.AddEventHandler(whenMoved(changed))
	if err != nil {
		return fmt.Errorf("watch Nodes: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	defer func() {
		cancel()
		running.Wait()
		n.forget()
	}()
	n.gather(ctx, informer.GetStore(), registration.HasSyncedChecker().Done(), changed)
	return nil
}

// gather counts the Nodes when all have been read, and whenever some have moved, until they are not needed.
func (n *nodes) gather(ctx context.Context, store toolscache.Store, synced <-chan struct{}, changed <-chan struct{}) {
	var settle, agree <-chan time.Time
	count := func() {
		if n.count(store) {
			agree = time.After(nodesAgree)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
			if !n.needed() {
				return
			}
		case <-synced:
			synced = nil
			count()
		case <-changed:
			if synced == nil && settle == nil {
				settle = time.After(nodesSettle)
			}
		case <-settle:
			settle = nil
			count()
		case <-agree:
			agree = nil
			n.remind()
		}
	}
}

// count says whether other localities are in force now.
func (n *nodes) count(store toolscache.Store) (changed bool) {
	counts := policy.NodeLocalities{}
	for _, object := range store.List() {
		if node, ok := object.(*metav1.PartialObjectMetadata); ok {
			counts[policy.NodeLocalityOf(node.Labels)]++
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts, n.failed = counts, nil
	return n.apply()
}

// remind tells of the last change once more: what a replica refused that had not counted the Nodes yet, the
// backfill tries again.
func (n *nodes) remind() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index.SetConfig(n.index.Config())
}

func (n *nodes) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts, n.failed = nil, nil
}

// answered notes whether the Nodes can be read. Other errors than a missing right are for the informer to retry.
func (n *nodes) answered(err error) {
	refused := apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)
	if err != nil && !refused {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	before := n.failed != nil
	if refused {
		n.failed = err
	} else if n.counts != nil { // otherwise they are about to be counted
		n.failed = nil
	}
	if (n.failed != nil) != before {
		n.apply()
	}
}

func (n *nodes) retrying(_ context.Context, _ *toolscache.Reflector, err error) {
	n.log.Info("Nodes cannot be watched, trying again", "reason", err.Error())
}

// observed is the source, whose answers it notes.
func (n *nodes) observed() toolscache.ListerWatcher {
	source := toolscache.ToListerWatcherWithContext(n.source)
	return toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := source.ListWithContext(ctx, o)
			n.answered(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := source.WatchWithContext(ctx, o)
			n.answered(err)
			return w, err
		},
	}, n.source)
}

// nodesOf returns the Nodes of a cluster as a source of metadata.
func nodesOf(client metadata.Interface) toolscache.ListerWatcher {
	resource := client.Resource(corev1.SchemeGroupVersion.WithResource("nodes"))
	return toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return resource.List(ctx, o)
		},
		WatchFuncWithContext: resource.Watch,
	}, client)
}

// stripNode keeps of a Node its name and the labels that say where it stands.
func stripNode(object any) (any, error) {
	full, ok := object.(*metav1.PartialObjectMetadata)
	if !ok {
		return object, nil
	}
	kept := &metav1.PartialObjectMetadata{TypeMeta: full.TypeMeta}
	kept.Name, kept.UID, kept.ResourceVersion = full.Name, full.UID, full.ResourceVersion
	for _, key := range policy.NodeLocalityLabels() {
		if value, ok := full.Labels[key]; ok {
			metav1.SetMetaDataLabel(&kept.ObjectMeta, key, value)
		}
	}
	return kept, nil
}

// whenMoved puts a token into a channel for each Node that comes, goes or moves. A Node reports its health
// every few minutes, which does not count.
func whenMoved(changed chan<- struct{}) toolscache.ResourceEventHandler {
	tell := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() },
		UpdateFunc: func(old, object any) {
			before, ok := old.(*metav1.PartialObjectMetadata)
			after, also := object.(*metav1.PartialObjectMetadata)
			if ok && also && !maps.Equal(before.Labels, after.Labels) {
				tell()
			}
		},
		DeleteFunc: func(any) { tell() },
	}
}
