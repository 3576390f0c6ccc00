package uninstall

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	meshconfigs "github.com/meshfence/meshfence/controller/meshconfig"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
)

// fieldOwner is the manager of the fields that are written, as long as that takes.
const fieldOwner = "meshfence"

// lost reports whether an error is none about the one object that was written, so that going on makes no sense.
func lost(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status)
}

// write makes one change, unless the object is another one by now. One that is gone needs none.
func (u *Uninstaller) write(ctx context.Context, c Change) error {
	version, uid := c.object.GetResourceVersion(), c.object.GetUID()
	if c.deletes() {
		return client.IgnoreNotFound(u.Client.Delete(ctx, c.object, client.Preconditions{UID: &uid, ResourceVersion: &version}))
	}
	owners := c.object.GetManagedFields()
	written := c.object.DeepCopyObject().(client.Object) // it is one
	if len(c.edits) > 0 {
		patch, err := jsonPatch(c)
		if err != nil {
			return err
		}
		if err := u.Client.Patch(ctx, written, client.RawPatch(types.JSONPatchType, patch), client.FieldOwner(fieldOwner)); err != nil {
			return client.IgnoreNotFound(err)
		}
	}
	return client.IgnoreNotFound(u.disown(ctx, written, owners))
}

// jsonPatch returns the edits of a change as a patch that a write in between makes fail.
func jsonPatch(c Change) ([]byte, error) {
	stored, err := json.Marshal(c.object)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", c.Kind, err)
	}
	edits := append([]inject.Edit{{Path: []string{"metadata", "resourceVersion"}, Value: c.object.GetResourceVersion()}}, c.edits...)
	operations, err := admit.Patch(stored, edits)
	if err != nil {
		return nil, fmt.Errorf("patch %s: %w", c.Kind, err)
	}
	return json.Marshal(operations)
}

// disown leaves an object to its owners: a list counts as one field, so that who changes an item of it takes all of it
// from the tool that applied it, which would then meet a conflict. A run that is cut short in between leaves that one object
// to meshfence as well, and the next one gives it up where it has another owner.
func (u *Uninstaller) disown(ctx context.Context, written client.Object, before []metav1.ManagedFieldsEntry) error {
	ours := func(e metav1.ManagedFieldsEntry) bool { return e.Manager == fieldOwner }
	if !slices.ContainsFunc(written.GetManagedFields(), ours) {
		return nil
	}
	left := before
	if owners := meshconfigs.Disowned(before, fieldOwner); owners != nil {
		left = owners
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": written.GetResourceVersion(), "managedFields": left}})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	return u.Client.Patch(ctx, written, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(fieldOwner))
}
