package meshconfig_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/meshconfig"
)

// manyHosts returns hosts with names as teams give them.
func manyHosts(n int) []policy.ClusterLocalEntry {
	words := strings.Fields("cart order stock user mail search price image audit billing session report invoice ledger gateway")
	r := rand.New(rand.NewPCG(1, 2))
	entries := make([]policy.ClusterLocalEntry, n)
	for i := range entries {
		host := hostname.Host{
			Namespace: fmt.Sprintf("team-%s-%d", words[r.IntN(len(words))], r.IntN(200)),
			Name:      fmt.Sprintf("%s-%s-%d", words[r.IntN(len(words))], words[r.IntN(len(words))], i),
		}
		entries[i] = policy.ClusterLocalEntry{Host: host.FQDN(meshDomain), Local: i%50 != 0}
	}
	return entries
}

const smallMesh = "defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\ntrustDomain: cluster.local"

func TestMeshConfigLarge(t *testing.T) {
	t.Parallel()
	want := manyHosts(18000)
	plan := meshRoundTrip(t, smallMesh, want)
	if len(plan.Text) < 900<<10 {
		t.Errorf("the case must come near the limit, got %d bytes", len(plan.Text))
	}
	t.Logf("%d hosts: %d bytes of text, %d bytes of annotation", len(want), len(plan.Text), len(plan.Owned))
	fewer := meshEdit(t, plan.Text, plan.Owned, want[:10])
	if fewer.Text != meshEdit(t, smallMesh, "", want[:10]).Text {
		t.Errorf("must shrink to ten hosts, got %d bytes", len(fewer.Text))
	}
}

func TestMeshConfigTooLarge(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		in   meshconfig.Input
		want string
	}{
		"the API server's limit": {
			in:   meshconfig.Input{Text: smallMesh, Want: manyHosts(24000)},
			want: "the mesh config must take at most 1048576 bytes",
		},
		"a caller's limit": {
			in:   meshconfig.Input{Text: smallMesh, Want: manyHosts(2), Limit: 200},
			want: "the mesh config must take at most 200 bytes, and would take 299 with the 2 hosts that the scope needs",
		},
		"the annotation": {
			in:   meshconfig.Input{Text: smallMesh, Want: manyHosts(36000), Limit: 4 << 20},
			want: "annotation meshfence.io/cluster-local-hosts must take at most 229376 bytes",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tt.in.Domain = meshDomain
			_, err := meshconfig.PlanText(tt.in)
			large, ok := errors.AsType[*meshconfig.TooLarge](err)
			if !ok || !strings.HasPrefix(err.Error(), tt.want) || large.Hosts != len(tt.in.Want) || large.Size <= large.Limit {
				t.Errorf("want %q, got %v", tt.want, err)
			}
		})
	}
	plan := meshEdit(t, smallMesh, "", manyHosts(20))
	smaller, err := meshconfig.PlanText(meshconfig.Input{Text: plan.Text, Owned: plan.Owned, Want: manyHosts(10), Domain: meshDomain, Limit: 100})
	if err != nil || len(smaller.Text) >= len(plan.Text) {
		t.Errorf("what makes a text smaller must pass, got %v", err)
	}
}

func BenchmarkMeshConfig(b *testing.B) {
	want := manyHosts(10000)
	plan := meshEdit(b, smallMesh, "", want)
	other := append([]policy.ClusterLocalEntry{{Host: "one.more.svc." + meshDomain, Local: true}}, want...)
	for name, in := range map[string]meshconfig.Input{
		"first":  {Text: smallMesh, Want: want},
		"no-op":  {Text: plan.Text, Owned: plan.Owned, Want: want},
		"change": {Text: plan.Text, Owned: plan.Owned, Want: other},
		"remove": {Text: plan.Text, Owned: plan.Owned},
		"small":  {Text: smallMesh, Want: want[:3]},
	} {
		b.Run(name, func(b *testing.B) {
			in.Domain = meshDomain
			b.ReportAllocs()
			for b.Loop() {
				if _, err := meshconfig.PlanText(in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
