package meshconfig

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/policy/meshconfig"
)

const (
	// asks is how often admission is asked to put the entries in before they are written, and pause
	// how long it gets in between: the replica that answers may not have seen yet what the leader has.
	asks  = 2
	pause = 300 * time.Millisecond
)

// bring brings a ConfigMap in line. A patch without content sends it through admission, which puts the entries in, so
// that its installer stays the only owner of the text: server-side apply, as Helm 4 upgrades by it, does not look for
// conflicts in what admission did. Where the answer comes back as it was the entries are written.
func (k *Keeper) bring(ctx context.Context, object *corev1.ConfigMap, hold bool) error {
	var plan Plan
	for ask := range asks {
		if ask > 0 && !change.Sleep(ctx, pause) {
			return ctx.Err()
		}
		text := object.Data[meshconfig.Key]
		if err := k.patch(ctx, object, map[string]any{}); err != nil {
			return err
		}
		var err error
		if plan, err = k.plan(object, hold); err != nil || plan.InLine {
			return err
		}
		if object.Data[meshconfig.Key] != text { // admission answers: what has changed since is for the next write
			k.looked.forget(client.ObjectKeyFromObject(object))
			k.changed.Set()
			return nil
		}
	}
	owners := object.ManagedFields
	annotations := map[string]any{meshconfig.ClusterLocalHostsAnnotation: nil}
	if plan.Owned != "" {
		annotations[meshconfig.ClusterLocalHostsAnnotation] = plan.Owned
	}
	err := k.patch(ctx, object, map[string]any{
		"metadata": map[string]any{"annotations": annotations}, "data": map[string]any{meshconfig.Key: plan.Text},
	})
	if err != nil {
		return err
	}
	k.Recorder.Eventf(object, nil, corev1.EventTypeWarning, "WroteMeshConfig", "Hold",
		"admission did not put in or take out the clusterLocal entries of meshfence, so that the controller wrote the text itself: "+
			"see that the webhook meshconfig.mutate.meshfence.io is registered and answers")
	if len(owners) == 0 {
		return nil
	}
	return k.patch(ctx, object, map[string]any{"metadata": map[string]any{"managedFields": owners}}) // as before the write
}

// patch merges a content into a ConfigMap, unless somebody else wrote it in between.
func (k *Keeper) patch(ctx context.Context, object *corev1.ConfigMap, content map[string]any) error {
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
	return k.Writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch))
}
