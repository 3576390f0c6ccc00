package policy_test

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// TestAtLeast: what is said of many hosts is exact, or says that it is not.
func TestAtLeast(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 9, 10, 11, 300} {
		index := policy.NewIndex(configOf(t, "{default: strict}"))
		index.SetNamespace("shop", nil)
		for i := range n {
			h := hostname.Host{Namespace: "shop", Name: fmt.Sprintf("s%d", i)}
			index.SetService(h, nil)
			index.SetServiceSpec(h, object.ServiceSpec{
				Selector: map[string]string{"app": "a"}, ClusterIP: fmt.Sprintf("10.0.%d.%d", i/200, i%200), Ports: []object.ServicePort{{Name: "tcp", Port: 5432}},
			})
		}
		view := index.View()
		port, _ := view.StrictPort(policy.Ports{Numbers: []int64{5432}})
		network, _ := view.StrictAddress(netip.MustParsePrefix("10.0.0.0/8"), policy.Ports{})
		named, _ := view.StrictSelecting("shop", map[string]string{"app": "a"})
		for what, host := range map[string]policy.FencedHost{"port": port, "network": network, "selector": named} {
			found := len(host.Hosts()) + host.More
			if host.AtLeast && found >= n && n > 10 || !host.AtLeast && found != n || found > n {
				t.Errorf("%s of %d: %d hosts found, at least: %t", what, n, found, host.AtLeast)
			}
			if host.AtLeast != (n > 10 && what != "selector") && what != "network" {
				t.Errorf("%s of %d: at least: %t", what, n, host.AtLeast)
			}
		}
	}
}
