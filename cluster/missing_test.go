package cluster_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// slow answers each Get after 10 ms, and counts how many wait at once.
type slow struct {
	client.Reader

	waiting, most atomic.Int64
}

func (s *slow) Get(ctx context.Context, key client.ObjectKey, o client.Object, options ...client.GetOption) error {
	if now := s.waiting.Add(1); now > s.most.Load() {
		s.most.Store(now)
	}
	defer s.waiting.Add(-1)
	time.Sleep(10 * time.Millisecond)
	return s.Reader.Get(ctx, key, o, options...)
}

// What a view is missing is read side by side, but not all of it: 20 hosts in 3 rounds.
func TestCompleteReadsAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reader := &slow{Reader: fake.NewClientBuilder().Build()}
		index := policy.NewIndex(&policy.Config{ClusterDomain: "cluster.local"})
		index.SetNamespace("shop", nil)
		view := index.View()
		start := time.Now()
		err := cluster.Complete(t.Context(), reader, view, func() error {
			for i := range 20 {
				view.Match(hostname.Host{Namespace: "shop", Name: fmt.Sprintf("s%d", i)}.FQDN("cluster.local"))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 30*time.Millisecond {
			t.Errorf("it takes %v, want 30ms", took)
		}
		if most := reader.most.Load(); most != 8 {
			t.Errorf("%d at once, want 8", most)
		}
	})
}
