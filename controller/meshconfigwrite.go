package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy/meshconfig"
)

const (
	// meshConfigAsks is how often admission is asked to put the entries in before they are written, and meshConfigPause
	// how long it gets in between: the replica that answers may not have seen yet what the leader has.
	meshConfigAsks  = 2
	meshConfigPause = 300 * time.Millisecond
)

// plan returns what a mesh ConfigMap must hold, and reports whether it does; without hold nothing of ours stays.
func (m *meshConfigs) plan(object *corev1.ConfigMap, hold bool) (plan meshconfig.Plan, inLine bool, err error) {
	var scope meshconfig.Scope
	if hold {
		scope = m.index
	}
	plan, err = meshconfig.PlanFor(object.Data, object.Annotations, m.index.Config().ClusterDomain, scope)
	if err != nil {
		return plan, false, fmt.Errorf("mesh ConfigMap %s: %w", client.ObjectKeyFromObject(object), err)
	}
	return plan, plan.Text == object.Data[meshconfig.Key] && plan.Owned == object.Annotations[meshconfig.ClusterLocalHostsAnnotation], nil
}

// bring brings a ConfigMap in line. A patch without content sends it through admission, which puts the entries in, so
// that its installer stays the only owner of the text: server-side apply, as Helm 4 upgrades by it, does not look for
// conflicts in what admission did. Where the answer comes back without the entries they are written.
func (m *meshConfigs) bring(ctx context.Context, object *corev1.ConfigMap, hold bool) error {
	var plan meshconfig.Plan
	for ask := range meshConfigAsks {
		if ask > 0 && !sleep(ctx, meshConfigPause, nil) {
			return ctx.Err()
		}
		if err := m.patch(ctx, object, map[string]any{}); err != nil {
			return err
		}
		var inLine bool
		var err error
		if plan, inLine, err = m.plan(object, hold); err != nil || inLine {
			return err
		}
	}
	owners := object.ManagedFields
	annotations := map[string]any{meshconfig.ClusterLocalHostsAnnotation: nil}
	if plan.Owned != "" {
		annotations[meshconfig.ClusterLocalHostsAnnotation] = plan.Owned
	}
	err := m.patch(ctx, object, map[string]any{
		"metadata": map[string]any{"annotations": annotations}, "data": map[string]any{meshconfig.Key: plan.Text},
	})
	if err != nil {
		return err
	}
	m.recorder.Eventf(object, nil, corev1.EventTypeWarning, "WroteMeshConfig", "Hold",
		"admission did not put in or take out the clusterLocal entries of meshfence, so that the controller wrote the text itself: "+
			"see that the webhook meshconfig.mutate.meshfence.io is registered and answers")
	if len(owners) == 0 {
		return nil
	}
	return m.patch(ctx, object, map[string]any{"metadata": map[string]any{"managedFields": owners}}) // as before the write
}

// disown takes the entry of the controller out of managedFields, so that no installer finds a second owner of a text that
// an earlier version wrote, or that had to be written.
func (m *meshConfigs) disown(ctx context.Context, object *corev1.ConfigMap) error {
	left := slices.DeleteFunc(slices.Clone(object.ManagedFields), func(e metav1.ManagedFieldsEntry) bool { return e.Manager == fieldOwner })
	if len(left) == len(object.ManagedFields) || len(left) == 0 { // an empty list would reset all
		return nil
	}
	return m.patch(ctx, object, map[string]any{"metadata": map[string]any{"managedFields": left}})
}

// patch merges a content into a ConfigMap, unless somebody else wrote it in between.
func (m *meshConfigs) patch(ctx context.Context, object *corev1.ConfigMap, content map[string]any) error {
	metadata, ok := content["metadata"].(map[string]any)
	if !ok {
		metadata = map[string]any{}
		content["metadata"] = metadata
	}
	metadata["resourceVersion"], metadata["uid"] = object.ResourceVersion, object.UID
	patch, err := json.Marshal(content)
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	return m.writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch))
}
