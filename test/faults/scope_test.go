package faults_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/test/testbed"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// scopeFaults happen to what is fenced.
func scopeFaults() []fault {
	return []fault{
		{
			name: "1000 Services fenced by one label",
			strike: func(ctx context.Context, b *bed) error {
				return errors.Join(b.crowd(ctx, "thousand", 1000), b.label(ctx, "thousand", "strict"))
			},
			recovered: func(ctx context.Context, b *bed) error { return b.fenced(ctx, "thousand", 1000) },
			within:    150 * time.Second, said: []sign{logged("objects to bring in line"), event("NoLocalEndpoint")},
		},
		{
			name: "label changed forty times",
			strike: func(ctx context.Context, b *bed) error {
				if err := b.crowd(ctx, "flapping", 100); err != nil {
					return err
				}
				for range 20 {
					for _, fence := range []string{"none", "strict"} {
						if err := errors.Join(b.label(ctx, "flapping", fence), pause(ctx, 250*time.Millisecond)); err != nil {
							return err
						}
					}
				}
				return nil
			},
			recovered: func(ctx context.Context, b *bed) error { return b.fenced(ctx, "flapping", 100) },
			within:    60 * time.Second,
		},
		{
			name: "Namespace of 100 strict Services deleted",
			strike: func(ctx context.Context, b *bed) error {
				return b.client.CoreV1().Namespaces().Delete(ctx, "flapping", metav1.DeleteOptions{})
			},
			recovered: func(ctx context.Context, b *bed) error {
				_, err := b.client.CoreV1().Namespaces().Get(ctx, "flapping", metav1.GetOptions{})
				if !apierrors.IsNotFound(err) {
					return fmt.Errorf("the Namespace is not gone: %w", err)
				}
				return nil
			},
			within: 60 * time.Second,
		},
		{
			name: "DestinationRules unknown for ten seconds", allowed: allowed{silence: true},
			strike: func(ctx context.Context, b *bed) error {
				const name = "destinationrules.networking.istio.io"
				definition, err := b.objects.Resource(definitions).Get(ctx, name, metav1.GetOptions{})
				if err != nil {
					return err
				}
				if err := b.objects.Resource(definitions).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
					return err
				}
				if err := pause(ctx, 10*time.Second); err != nil {
					return err
				}
				definition.SetResourceVersion("")
				delete(definition.Object, "status")
				err = testbed.Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
					_, err := b.objects.Resource(definitions).Create(ctx, definition, metav1.CreateOptions{})
					return err
				})
				return errors.Join(err, testbed.Eventually(ctx, 30*time.Second, func(ctx context.Context) error { return b.Apply(ctx, scene) }))
			},
			recovered: func(ctx context.Context, b *bed) error {
				_, err := b.objects.Resource(destinationRules).Namespace("shop").Get(ctx, "reviews-meshfence", metav1.GetOptions{})
				return err
			},
			within: 60 * time.Second,
		},
	}
}
