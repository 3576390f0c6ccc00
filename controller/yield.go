package controller

import (
	"context"
	"errors"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// errYields is the error of every write while another installation of meshfence has the cluster.
var errYields = errors.New("the webhook configurations call another installation of meshfence, which alone writes: remove one of them")

// yielding is a client that writes nothing while its replica yields.
type yielding struct {
	client.Client

	yields func() bool
}

func (y yielding) err() error {
	if y.yields() {
		return errYields
	}
	return nil
}

// Create creates an object, unless the replica yields.
func (y yielding) Create(ctx context.Context, o client.Object, options ...client.CreateOption) error {
	if err := y.err(); err != nil {
		return err
	}
	return y.Client.Create(ctx, o, options...)
}

// Update updates an object, unless the replica yields.
func (y yielding) Update(ctx context.Context, o client.Object, options ...client.UpdateOption) error {
	if err := y.err(); err != nil {
		return err
	}
	return y.Client.Update(ctx, o, options...)
}

// Patch patches an object, unless the replica yields.
func (y yielding) Patch(ctx context.Context, o client.Object, patch client.Patch, options ...client.PatchOption) error {
	if err := y.err(); err != nil {
		return err
	}
	return y.Client.Patch(ctx, o, patch, options...)
}

// Delete deletes an object, unless the replica yields.
func (y yielding) Delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	if err := y.err(); err != nil {
		return err
	}
	return y.Client.Delete(ctx, o, options...)
}
