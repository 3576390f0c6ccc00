package faults_test

import (
	"context"
	"time"
)

// away is what docs/design.md says of the time in which replicas do not answer.
var away = allowed{delay: true, open: true}

// faults are all of them, in the order in which they come.
func faults() []fault {
	return []fault{
		{
			name: "none", fast: true,
			strike: func(ctx context.Context, _ *bed) error { return pause(ctx, time.Second) },
			within: 10 * time.Second,
		},
		{
			name: "kill -9 of a replica", fast: true, allowed: away,
			strike: func(ctx context.Context, b *bed) error {
				i, err := b.other(ctx)
				if err == nil {
					b.meshfence.KillReplica(i)
				}
				return err
			},
			within: 15 * time.Second, said: []sign{unready("connection refused")},
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
			within: 40 * time.Second, said: []sign{unready("connection refused"), logged("leads")},
		},
		{
			name: "no replica for five seconds", fast: true, allowed: away,
			strike: func(ctx context.Context, b *bed) error {
				return b.unsupervised(ctx, func() error {
					for i := range b.meshfence.Replicas() {
						b.meshfence.KillReplica(i)
					}
					return pause(ctx, 5*time.Second)
				})
			},
			within: 40 * time.Second, said: []sign{unready("connection refused")},
		},
	}
}
