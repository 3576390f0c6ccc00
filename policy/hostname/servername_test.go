package hostname_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy/hostname"
)

func TestServerName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"outbound_.9080_._.cart.shop.svc.cluster.local":   "cart.shop.svc.cluster.local",
		"outbound_.9080_.v1_.cart.shop.svc.cluster.local": "cart.shop.svc.cluster.local",
		"OUTBOUND_.80_._.Cart.shop.svc.cluster.local":     "cart.shop.svc.cluster.local",
		"outbound_.9080_.cart.shop.svc.cluster.local":     "",
		"inbound_.9080_._.cart.shop.svc.cluster.local":    "",
		"cart.shop.svc.cluster.local":                     "",
	} {
		if got, ok := hostname.ServerName(name); got != want || ok != (want != "") {
			t.Errorf("%s: %q (%t), want %q", name, got, ok, want)
		}
	}
}
