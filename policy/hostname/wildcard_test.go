package hostname_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy/hostname"
)

func TestShortWildcard(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"*.shop": ".shop", "*.Shop.": ".shop", "*.svc": ".svc", "*.shop.svc": ".shop.svc", "*-db.shop": "-db.shop",
		"*": "", "*.example.com": "", "*.shop.svc.cluster.local": "", "cart.shop": "", "*shop": "", "*.": "",
	} {
		if got, ok := hostname.ShortWildcard(host); got != want || ok != (want != "") {
			t.Errorf("%s: %q (%t), want %q", host, got, ok, want)
		}
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		wildcard, host string
		want           bool
	}{
		"a host":                {"*.shop.svc.cluster.local", "cart.shop.svc.cluster.local", true},
		"a host of another end": {"*.shop.svc.cluster.local", "cart.web.svc.cluster.local", false},
		"everything":            {"*", "cart.shop.svc.cluster.local", true},
		"a narrower wildcard":   {"*.svc.cluster.local", "*.shop.svc.cluster.local", true},
		"a wider wildcard":      {"*.shop.svc.cluster.local", "*.svc.cluster.local", false},
		"itself":                {"*.shop", "*.shop", true},
		"an exact host":         {"cart.shop", "cart.shop", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := hostname.Covers(test.wildcard, test.host); got != test.want {
				t.Errorf("Covers(%q, %q) = %t", test.wildcard, test.host, got)
			}
		})
	}
}
