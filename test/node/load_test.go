package node_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	_, err := n.objects.Resource(virtualServices()).Namespace("shop").Create(ctx, object, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

func virtualServices() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}
}

// leaks tries a route out of the fence.
func (n *node) leaks(ctx context.Context) error { return n.route(ctx, "reviews", "ratings") }

// refuses returns nil if meshfence itself refuses a route out of the fence.
func (n *node) refuses(ctx context.Context) error {
	err := n.leaks(ctx)
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

// written is what became of writes.
type written struct {
	passed, delayed         int // ordinary ones: let through, refused because no Pod answered
	refused, closed, leaked int // leaks: refused by meshfence, refused because no Pod answered, let through
	silence                 []error
	wrong                   []error // refused for another reason
}

// load keeps writing until it is stopped.
type load struct {
	cancel  context.CancelFunc
	writers sync.WaitGroup

	mu sync.Mutex
	written
}

// write starts writers of ordinary changes, one of which fails open, and of leaks, which fail closed.
func (n *node) write(t *testing.T) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{cancel: cancel}
	l.repeat(ctx, n.touch, l.ordinary)
	l.repeat(ctx, func(ctx context.Context) error { return n.route(ctx, "ratings", "ratings") }, l.ordinary)
	l.repeat(ctx, n.leaks, l.leak)
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

// ordinary counts a write that must pass.
func (w *written) ordinary(err error) {
	switch {
	case err == nil:
		w.passed++
	case uncalled(err):
		w.delayed++
		w.silence = append(w.silence, err)
	default:
		w.wrong = append(w.wrong, err)
	}
}

// leak counts a write that must not pass.
func (w *written) leak(err error) {
	switch {
	case err == nil:
		w.leaked++
	case apierrors.IsInvalid(err):
		w.refused++
	case uncalled(err):
		w.closed++
		w.silence = append(w.silence, err)
	default:
		w.wrong = append(w.wrong, err)
	}
}

// judge says what must not be: a leak that passes, or a write that is refused wrongly. Where no Pod may answer for a while,
// what fails closed is delayed.
func (w *written) judge(silent bool) error {
	errs := w.wrong
	if !silent {
		errs = slices.Concat(errs, w.silence)
	}
	if w.leaked > 0 {
		errs = append(errs, fmt.Errorf("%d leaks passed", w.leaked))
	}
	if w.passed == 0 || w.refused == 0 {
		errs = append(errs, fmt.Errorf("%d writes passed, and %d leaks were refused", w.passed, w.refused))
	}
	return errors.Join(errs...)
}

// stop ends the writers and returns what became of the writes.
func (l *load) stop() written {
	l.cancel()
	l.writers.Wait()
	return l.written
}
