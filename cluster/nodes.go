package cluster

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

// Start watches what the FenceConfig needs, until the context ends.
func (s *State) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { s.completion.followMeshes(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.completion.wakeNodes:
		}
		if err := s.completion.followNodes(ctx); err != nil {
			return err
		}
	}
}

func (c *completion) needsNodes() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.config.NeedsNodes()
}

// followNodes watches the Nodes while they are needed.
func (c *completion) followNodes(ctx context.Context) error {
	if !c.needsNodes() {
		return nil
	}
	informer := toolscache.NewSharedIndexInformer(observed(c.localities.source, c.nodesAnswered), MetadataOf(kindNode), 0, nil)
	if err := informer.SetTransform(stripNode); err != nil {
		return fmt.Errorf("watch Nodes: %w", err)
	}
	if err := informer.SetWatchErrorHandlerWithContext(c.retrying); err != nil {
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
		c.forgetNodes()
	}()
	c.gatherNodes(ctx, informer.GetStore(), registration.HasSyncedChecker().Done(), changed)
	return nil
}

// gatherNodes counts the Nodes when all have been read, and whenever some have moved, until they are not needed.
func (c *completion) gatherNodes(ctx context.Context, store toolscache.Store, synced <-chan struct{}, changed <-chan struct{}) {
	var settle, agree <-chan time.Time
	count := func() {
		if c.countNodes(store) {
			agree = time.After(nodesAgree)
		}
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wakeNodes:
			if !c.needsNodes() {
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
			c.remind()
		}
	}
}

// countNodes reports whether other localities are in force now.
func (c *completion) countNodes(store toolscache.Store) (changed bool) {
	counts := policy.NodeLocalities{}
	for _, object := range store.List() {
		if node, ok := object.(*metav1.PartialObjectMetadata); ok {
			counts[policy.NodeLocalityOf(node.Labels)]++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.localities.counts, c.localities.failed = counts, nil
	return c.answered()
}

func (c *completion) forgetNodes() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.localities.counts, c.localities.failed = nil, nil
}

// nodesAnswered notes whether the Nodes can be read. Other errors than a missing right are for the informer to retry, as is
// that one at first where they have been read: an API server that starts forbids everything until it knows its rules.
func (c *completion) nodesAnswered(err error) {
	if err != nil && !refusal(err) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := &c.localities
	before := l.failed != nil
	if err == nil {
		l.refused = time.Time{}
	} else if l.refused.IsZero() {
		l.refused = time.Now()
	}
	switch {
	case err != nil && (l.counts == nil || time.Since(l.refused) >= forbiddenGrace):
		l.failed = err
	case err == nil && l.counts != nil: // otherwise they are about to be counted
		l.failed = nil
	}
	if (l.failed != nil) != before {
		c.answered()
	}
}

// refusal reports whether an answer of the API server is that a right is missing.
func refusal(err error) bool { return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) }

func (c *completion) retrying(_ context.Context, _ *toolscache.Reflector, err error) {
	c.log.Info("Nodes cannot be watched, trying again", "reason", err.Error())
}

// observed is a source whose answers are noted.
func observed(from toolscache.ListerWatcher, answered func(error)) toolscache.ListerWatcher {
	source := toolscache.ToListerWatcherWithContext(from)
	return toolscache.ToListWatcherWithWatchListSemantics(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := source.ListWithContext(ctx, o)
			answered(err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := source.WatchWithContext(ctx, o)
			answered(err)
			return w, err
		},
	}, from)
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

// stripNode keeps of a Node its name and the labels that say where it is.
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
	tell := func() { put(changed) }
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
