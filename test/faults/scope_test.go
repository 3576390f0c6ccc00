package faults_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/test/testbed"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// scopeFaults happen to what is fenced.
func scopeFaults() []fault {
	return []fault{
		{
			name: fmt.Sprintf("%d Services fenced by one label", *many),
			strike: func(ctx context.Context, b *bed) error {
				return errors.Join(b.crowd(ctx, "many", *many), b.label(ctx, "many", "strict"))
			},
			recovered: func(ctx context.Context, b *bed) error { return b.fenced(ctx, "many", *many) },
			within:    time.Duration(*many) * 150 * time.Millisecond, said: []sign{logged("objects to bring in line"), event("NoLocalEndpoint")},
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
			within:    60 * time.Second, said: []sign{logged("objects to bring in line")},
		},
		{
			name: "Namespace of many strict Services deleted",
			strike: func(ctx context.Context, b *bed) error {
				if err := errors.Join(b.crowd(ctx, "many", 100), b.label(ctx, "many", "strict"), pause(ctx, 3*time.Second)); err != nil {
					return err
				}
				// Some of them are being brought in line.
				return b.client.CoreV1().Namespaces().Delete(ctx, "many", metav1.DeleteOptions{})
			},
			recovered: func(ctx context.Context, b *bed) error {
				_, err := b.client.CoreV1().Namespaces().Get(ctx, "many", metav1.GetOptions{})
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
				back, err := b.unknown(ctx, "destinationrules")
				return errors.Join(err, pause(ctx, 10*time.Second), back(ctx))
			},
			recovered: companionOf("reviews", destinationRules), within: 60 * time.Second,
			said: []sign{logged("could not find the requested resource")},
		},
		{
			// A replica that starts then must not wait for them, nor miss that they come.
			name: "everything starts without two kinds, which come 15 seconds later", allowed: gone,
			strike: func(ctx context.Context, b *bed) error {
				back, err := b.unknown(ctx, "serviceentries", "virtualservices")
				if err != nil {
					return errors.Join(err, back(ctx))
				}
				err = b.without(ctx, 0, func() error { return b.Restart(context.WithoutCancel(ctx), "kube-apiserver") })
				return errors.Join(err, b.meshfence.WaitServing(ctx), pause(ctx, 15*time.Second), back(ctx))
			},
			recovered: companionOf("reviews", virtualServices), within: 60 * time.Second,
			said: []sign{logged("waiting for Istio's kinds")},
		},
		{
			name: "another installation for ten seconds", allowed: away, strike: anotherInstallation,
			within: 30 * time.Second, said: []sign{event("ForeignWebhookConfiguration"), metric("meshfence_webhook_configurations_yielded", 2)},
		},
	}
}

// companionOf returns nil once the companion of a Service of shop exists.
func companionOf(service string, of schema.GroupVersionResource) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		_, err := b.objects.Resource(of).Namespace("shop").Get(ctx, service+"-meshfence", metav1.GetOptions{})
		return err
	}
}

// unknown has the API server forget kinds of Istio with all their objects. What it returns brings the kinds back, and the
// scene.
func (b *bed) unknown(ctx context.Context, resources ...string) (back func(context.Context) error, err error) {
	api := b.objects.Resource(definitions)
	var gone []*unstructured.Unstructured
	back = func(ctx context.Context) error {
		for _, definition := range gone {
			err := testbed.Eventually(ctx, 30*time.Second, func(ctx context.Context) error {
				_, err := api.Create(ctx, definition, metav1.CreateOptions{})
				return err
			})
			if err != nil {
				return err
			}
		}
		return testbed.Eventually(ctx, 30*time.Second, func(ctx context.Context) error { return b.Apply(ctx, scene) })
	}
	for _, resource := range resources {
		definition, err := api.Get(ctx, resource+".networking.istio.io", metav1.GetOptions{})
		if err != nil {
			return back, err
		}
		if err := api.Delete(ctx, definition.GetName(), metav1.DeleteOptions{}); err != nil {
			return back, err
		}
		definition.SetResourceVersion("")
		delete(definition.Object, "status")
		gone = append(gone, definition)
	}
	return back, nil
}

// anotherInstallation has the API server call another installation for a while.
func anotherInstallation(ctx context.Context, b *bed) error {
	const namespace = "meshfence-second"
	second, err := b.Install(ctx, testbed.Installation{FenceConfig: fenceConfig, Namespace: namespace})
	if err != nil {
		return err
	}
	defer second.Stop()
	err = errors.Join(second.TakeOver(ctx), second.WaitServing(ctx), pause(ctx, 10*time.Second), b.installAgain(ctx))
	return errors.Join(err, b.client.RbacV1().ClusterRoleBindings().Delete(ctx, namespace, metav1.DeleteOptions{}),
		b.client.CoreV1().Namespaces().Delete(ctx, namespace, metav1.DeleteOptions{}))
}
