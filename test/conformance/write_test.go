package conformance_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/meshfence/meshfence/test/testbed"
)

// change is what became of objects that were written.
type change struct {
	// stored are the objects that were accepted, as they are stored.
	stored []*unstructured.Unstructured
	// changed reports whether one of them is not stored as it was sent.
	changed bool
	// warnings are those of meshfence.
	warnings []string
	// err is the refusal that ended it.
	err error
}

// apply writes objects one after the other, up to the first that is refused.
func (s *scene) apply(ctx context.Context, objects []*unstructured.Unstructured) change {
	var done change
	s.take()
	for _, o := range objects {
		stored, err := s.send(ctx, o)
		if err != nil {
			done.err = err
			break
		}
		if stored == nil {
			continue
		}
		done.stored = append(done.stored, stored)
		done.changed = done.changed || strings.HasPrefix(o.GetAPIVersion(), "networking.istio.io/") &&
			o.Object["spec"] != nil && indent(o.Object["spec"]) != indent(stored.Object["spec"])
	}
	done.warnings = s.take()
	return done
}

// put writes objects one after the other, each as soon as a dry run of it passes, and it itself: a guard hears of an object,
// or that one is gone, a moment after the API server, and one replica after another. With quiet it may not be warned of either.
func (s *scene) put(t *testing.T, objects []*unstructured.Unstructured, quiet bool) change {
	t.Helper()
	var done change
	for _, o := range objects {
		var one change
		err := testbed.Eventually(t.Context(), patience, func(ctx context.Context) error {
			warnings, err := s.try(ctx, o)
			if err == nil && quiet && len(warnings) > 0 {
				return fmt.Errorf("%s %s: %q", o.GetKind(), o.GetName(), warnings)
			}
			if err == nil {
				one = s.apply(t.Context(), []*unstructured.Unstructured{o})
				err = one.err
			}
			return err
		})
		if err != nil {
			t.Fatalf("must be accepted: %v", err)
		}
		if quiet && len(one.warnings) > 0 {
			t.Fatalf("must be accepted without a warning, like its dry run: %q", one.warnings)
		}
		done.stored = append(done.stored, one.stored...)
		done.warnings = append(done.warnings, one.warnings...)
	}
	return done
}

// breach writes objects that leak together, up to the first that is refused. Where their order does not matter, only
// the last one may be: alone the others are harmless.
func (s *scene) breach(t *testing.T, objects []*unstructured.Unstructured) change {
	t.Helper()
	last := len(objects) - 1
	var done change
	if s.AnyOrder {
		done = s.put(t, objects[:last], false)
	} else if done = s.apply(t.Context(), objects[:last]); done.err != nil {
		return done
	}
	if s.leaks(s.hold) {
		s.await(t, objects[last])
	}
	more := s.apply(t.Context(), objects[last:])
	return change{
		stored: append(done.stored, more.stored...), changed: done.changed || more.changed,
		warnings: append(done.warnings, more.warnings...), err: more.err,
	}
}

// await waits until the guard has something to say of an object, which it may know only once it has heard of others.
// Whether it is what it should say is for the caller.
func (s *scene) await(t *testing.T, o *unstructured.Unstructured) {
	t.Helper()
	err := testbed.Eventually(t.Context(), notice, func(ctx context.Context) error {
		warnings, err := s.try(ctx, o)
		if err == nil && len(warnings) == 0 {
			return fmt.Errorf("%s %s: accepted without a warning", o.GetKind(), o.GetName())
		}
		return nil
	})
	if err != nil {
		t.Log(err)
	}
}

// try returns the answer to an object in a dry run.
func (s *scene) try(ctx context.Context, o *unstructured.Unstructured) (warnings []string, err error) {
	s.take()
	_, err = s.send(ctx, o, metav1.DryRunAll)
	return s.take(), err
}

// cluster returns where an object goes.
func (s *scene) cluster(o *unstructured.Unstructured) *testbed.Cluster {
	return s.Cluster(cmp.Or(o.GetAnnotations()[inCluster], testbed.FirstCluster))
}

// resource returns where objects like this one are.
func (s *scene) resource(c *testbed.Cluster, o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := o.GroupVersionKind()
	mapping, err := s.mappers[c].RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return s.clients[c].Resource(mapping.Resource), nil
	}
	return s.clients[c].Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
}

// send writes an object in the way that its annotations say. What is stored is nil after a deletion.
func (s *scene) send(ctx context.Context, o *unstructured.Unstructured, dryRun ...string) (*unstructured.Unstructured, error) {
	resource, err := s.resource(s.cluster(o), o)
	if err != nil {
		return nil, err
	}
	verb, write := "apply", apply
	switch annotations := o.GetAnnotations(); {
	case annotations[deleted] != "":
		verb, write = "delete", remove
	case annotations[replaced] != "":
		verb, write = "replace", replace
	case annotations[subresource] != "":
		verb, write = "patch "+annotations[subresource]+" of", patch
	}
	stored, err := write(ctx, resource, o, dryRun)
	if err != nil {
		return nil, fmt.Errorf("%s %s %s: %w", verb, o.GetKind(), o.GetName(), err)
	}
	return stored, nil
}

// apply does what kubectl apply --server-side does.
func apply(ctx context.Context, resource dynamic.ResourceInterface, o *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	options := metav1.ApplyOptions{FieldManager: "conformance", Force: true, DryRun: dryRun}
	stored, err := resource.Apply(ctx, o.GetName(), o, options)
	if err != nil || o.GetKind() != "Pod" || o.Object["status"] == nil || len(dryRun) > 0 {
		return stored, err
	}
	return resource.ApplyStatus(ctx, o.GetName(), o, options)
}

// remove deletes an object, if it exists.
func remove(ctx context.Context, resource dynamic.ResourceInterface, o *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	err := resource.Delete(ctx, o.GetName(), metav1.DeleteOptions{DryRun: dryRun})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return nil, err
}

// replace writes an object over the one that exists, whoever made that one, or makes it.
func replace(ctx context.Context, resource dynamic.ResourceInterface, o *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	existing, err := resource.Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return resource.Create(ctx, o, metav1.CreateOptions{DryRun: dryRun})
	}
	if err != nil {
		return nil, err
	}
	o = o.DeepCopy()
	o.SetResourceVersion(existing.GetResourceVersion())
	return resource.Update(ctx, o, metav1.UpdateOptions{DryRun: dryRun})
}

// patch merges labels and status into an object through one of its subresources.
func patch(ctx context.Context, resource dynamic.ResourceInterface, o *unstructured.Unstructured, dryRun []string) (*unstructured.Unstructured, error) {
	merge := map[string]any{"metadata": map[string]any{"labels": o.GetLabels()}}
	if status, ok := o.Object["status"]; ok {
		merge["status"] = status
	}
	data, err := json.Marshal(merge)
	if err != nil {
		return nil, err
	}
	options := metav1.PatchOptions{FieldManager: "conformance", DryRun: dryRun}
	return resource.Patch(ctx, o.GetName(), types.MergePatchType, data, options, o.GetAnnotations()[subresource])
}

// headless is the address of a Service that has none, which no update changes.
const headless = "None"

// undo removes what a change stored, the last first, and puts back what was there before.
func (s *scene) undo(t *testing.T, done change) {
	t.Helper()
	stood, before := map[string]bool{"Pod " + s.namespace + "/reviews": true}, s.expand(t, s.Before)
	for _, o := range slices.Concat(s.ground(t), before) {
		stood[identity(o)] = true
	}
	for _, o := range slices.Backward(done.stored) {
		clusterIP, _, _ := unstructured.NestedString(o.Object, "spec", "clusterIP")
		kept := stood[identity(o)] && clusterIP != headless
		if kept || o.GetKind() == "ConfigMap" { // the mesh config is everybody's, and the guard fixes it
			continue
		}
		resource, err := s.resource(s.cluster(o), o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := remove(t.Context(), resource, o, nil); err != nil {
			t.Fatalf("undo %s: %v", identity(o), err)
		}
	}
	s.stand(t, before)
	s.put(t, before, false)
}

func identity(o *unstructured.Unstructured) string {
	return fmt.Sprintf("%s %s/%s", o.GetKind(), o.GetNamespace(), o.GetName())
}
