package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// FieldManager owns what an installation applies.
const FieldManager = "meshfence-install"

// Applier applies an installation.
type Applier struct {
	Client client.Client
	// Force takes fields from other managers, such as kubectl.
	Force bool
	// Patience is how long the replicas may take; 0 does not wait for them.
	Patience time.Duration
	// Progress is told of every object.
	Progress io.Writer
}

// Apply applies objects in their order. It waits for the replicas of the Deployment before the API server is told to call
// them, so that a replica that cannot start refuses nothing.
func (a *Applier) Apply(ctx context.Context, objects []*unstructured.Unstructured) error {
	var waitFor *unstructured.Unstructured
	for _, o := range objects {
		if IsWebhookConfiguration(o) && waitFor != nil {
			if err := a.wait(ctx, client.ObjectKeyFromObject(waitFor)); err != nil {
				return err
			}
			waitFor = nil
		}
		if err := a.apply(ctx, o); err != nil {
			return err
		}
		if o.GetKind() == "Deployment" && a.Patience > 0 {
			waitFor = o
		}
	}
	return nil
}

func (a *Applier) apply(ctx context.Context, o *unstructured.Unstructured) error {
	options := []client.ApplyOption{client.FieldOwner(FieldManager)}
	if a.Force {
		options = append(options, client.ForceOwnership)
	}
	name := fmt.Sprintf("%s %s", o.GetKind(), o.GetName())
	err := a.Client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o.DeepCopy()), options...)
	if meta.IsNoMatchError(err) {
		return fmt.Errorf("apply %s: the cluster has no such kind: install what brings it first: %w", name, err)
	}
	if apierrors.IsConflict(err) {
		return fmt.Errorf("apply %s: somebody else has set some of its fields, which --force-conflicts takes: %w", name, err)
	}
	if err != nil {
		return fmt.Errorf("apply %s: %w", name, err)
	}
	fmt.Fprintf(a.Progress, "applied %s\n", name)
	return nil
}

// wait waits until every replica is of this version and available.
func (a *Applier) wait(ctx context.Context, key client.ObjectKey) error {
	fmt.Fprintf(a.Progress, "waiting for the replicas of Deployment %s\n", key)
	var seen string
	err := wait.PollUntilContextTimeout(ctx, time.Second, a.Patience, true, func(ctx context.Context) (bool, error) {
		var d appsv1.Deployment
		if err := a.Client.Get(ctx, key, &d); err != nil {
			return false, err
		}
		want, s := ptr.Deref(d.Spec.Replicas, 1), d.Status
		seen = fmt.Sprintf("%d of %d replicas are of this version, %d are available", s.UpdatedReplicas, want, s.AvailableReplicas)
		return s.ObservedGeneration >= d.Generation && s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want, nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		return errors.New("after " + a.Patience.String() + " " + seen + "; the webhook configurations were not applied; see kubectl logs -n " + key.Namespace + " deployment/" + key.Name)
	}
	return err
}
