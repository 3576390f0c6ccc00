package faults_test

import (
	"context"
	"errors"
	"syscall"
	"time"
)

// away is what docs/design.md says of the time in which replicas do not answer.
var away = allowed{delay: true, open: true}

// replicaFaults happen to the processes of meshfence.
func replicaFaults() []fault {
	return []fault{
		{
			name: "kill -9 of the replica that is called", allowed: away,
			strike: func(ctx context.Context, b *bed) error {
				i, err := b.called(ctx)
				if err == nil {
					b.meshfence.KillReplica(i)
				}
				return err
			},
			within: 40 * time.Second, said: []sign{logged("starting")},
		},
		{
			name: "no replica for five seconds", fast: true, allowed: away,
			strike: func(ctx context.Context, b *bed) error { return b.without(ctx, 5*time.Second, nil) },
			within: 40 * time.Second, said: []sign{unready("connection refused"), logged("starting")},
		},
		{
			name: "kill -9 of the leader", allowed: away,
			strike: func(ctx context.Context, b *bed) error {
				i, err := b.leader(ctx)
				if err == nil {
					b.meshfence.KillReplica(i)
				}
				return err
			},
			within: 40 * time.Second, said: []sign{unready("connection refused"), logged(`"leading"`)},
		},
		{
			name: "rollout", strike: rollout,
			within: 40 * time.Second, said: []sign{logged("no longer leading"), logged(`"leading"`)},
		},
		{
			name: "the replica that is called stands still for 25 seconds", allowed: away,
			strike: func(ctx context.Context, b *bed) error {
				i, err := b.called(ctx)
				if err != nil {
					return err
				}
				return errors.Join(b.meshfence.Signal(i, syscall.SIGSTOP), pause(ctx, 25*time.Second), b.meshfence.Signal(i, syscall.SIGCONT))
			},
			within: 60 * time.Second, said: []sign{unready("deadline exceeded")},
		},
	}
}

// rollout replaces one replica after another. A Pod that is not Ready any more still gets requests until every API
// server knows that, for which the manifests have a preStop.
func rollout(ctx context.Context, b *bed) error {
	return b.unsupervised(ctx, func() error {
		for i := range b.meshfence.Replicas() {
			if err := b.meshfence.StopReplica(ctx, i); err != nil {
				return err
			}
			if err := b.meshfence.StartReplica(context.WithoutCancel(ctx), i); err != nil { // it outlives the test
				return err
			}
		}
		return nil
	})
}

// without kills every replica, does something, and has them started again after a while.
func (b *bed) without(ctx context.Context, d time.Duration, do func() error) error {
	return b.unsupervised(ctx, func() error {
		for i := range b.meshfence.Replicas() {
			b.meshfence.KillReplica(i)
		}
		if do != nil {
			if err := do(); err != nil {
				return err
			}
		}
		return pause(ctx, d)
	})
}
