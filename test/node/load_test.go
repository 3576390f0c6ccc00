package node_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// writeEvery is how long a writer rests.
const writeEvery = 100 * time.Millisecond

// route tries, in a dry run, to have calls of one Service end in another one. It fails closed.
func (n *node) route(ctx context.Context, from, to string) error {
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
		"metadata": map[string]any{"namespace": "shop", "generateName": "load-"},
		"spec": map[string]any{
			"hosts": []any{from},
			"http":  []any{map[string]any{"route": []any{map[string]any{"destination": map[string]any{"host": to}}}}},
		},
	}}
	resource := schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}
	_, err := n.objects.Resource(resource).Namespace("shop").Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// refuses returns nil if meshfence itself refuses a route out of the fence.
func (n *node) refuses(ctx context.Context) error {
	err := n.route(ctx, "reviews", "ratings")
	if err == nil {
		return errors.New("the leak passes")
	}
	if !apierrors.IsInvalid(err) {
		return err
	}
	return nil
}

// touch changes the strict Service in a way that leaks nothing. It fails open.
func (n *node) touch(ctx context.Context) error {
	patch := fmt.Appendf(nil, `{"metadata": {"annotations": {"touched": "%d"}}}`, time.Now().UnixNano())
	_, err := n.client.CoreV1().Services("shop").Patch(ctx, "reviews", types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}

// written counts what became of writes.
type written struct {
	passed, delayed         int // ordinary ones; delayed are those that fail closed
	refused, closed, leaked int // leaks: refused by meshfence, refused because it did not answer, let through
}

// load keeps writing until it is stopped.
type load struct {
	cancel  context.CancelFunc
	writers sync.WaitGroup

	mu sync.Mutex
	written
	wrong []string
}

// write starts writers of ordinary changes, one of which fails open, and of leaks, which fail closed.
func (n *node) write(t *testing.T) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	l.repeat(ctx, n.touch, l.ordinary)
	l.repeat(ctx, func(ctx context.Context) error { return n.route(ctx, "ratings", "ratings") }, l.ordinary)
	l.repeat(ctx, func(ctx context.Context) error { return n.route(ctx, "reviews", "ratings") }, l.leak)
	return l
}

// repeat writes and counts. What is under way when the load is stopped comes to its end.
func (l *load) repeat(ctx context.Context, write func(context.Context) error, count func(error)) {
	l.writers.Go(func() {
		for ctx.Err() == nil {
			err := write(context.WithoutCancel(ctx))
			l.mu.Lock()
			count(err)
			l.mu.Unlock()
			select {
			case <-time.After(writeEvery):
			case <-ctx.Done():
			}
		}
	})
}

// uncalled reports whether the API server refused a write because the webhook did not answer.
func uncalled(err error) bool {
	return strings.Contains(err.Error(), "failed calling webhook")
}

func (l *load) ordinary(err error) {
	switch {
	case err == nil:
		l.passed++
	case uncalled(err):
		l.delayed++
		l.wrong = append(l.wrong, err.Error())
	default:
		l.wrong = append(l.wrong, err.Error())
	}
}

func (l *load) leak(err error) {
	switch {
	case err == nil:
		l.leaked++
	case apierrors.IsInvalid(err):
		l.refused++
	case uncalled(err):
		l.closed++
	default:
		l.wrong = append(l.wrong, err.Error())
	}
}

// stop ends the writers and returns what became of the writes.
func (l *load) stop() written {
	l.cancel()
	l.writers.Wait()
	return l.written
}
