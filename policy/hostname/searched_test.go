package hostname_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy/hostname"
)

func TestSearched(t *testing.T) {
	t.Parallel()
	cart := hostname.Host{Namespace: "shop", Name: "cart"}
	for name, want := range map[string]hostname.Host{
		"cart.shop.app.svc.cluster.local":                   cart,
		"Cart.Shop.app.svc.cluster.local.":                  cart,
		"cart.shop.svc.app.svc.cluster.local":               cart,
		"cart.shop.svc.svc.cluster.local":                   cart,
		"cart.shop.svc.cluster.local.app.svc.cluster.local": cart,
		"cart.shop.svc.cluster.local.svc.cluster.local":     cart,
		"cart.shop.svc.cluster.local.cluster.local":         cart,
		"cart.shop.svc.cluster.local":                       {}, // its own name
		"cart.shop":                                         {},
		"cart.shop.app.svc.example.com":                     {},
		"a.cart.shop.app.svc.cluster.local":                 {},
		"*.shop.app.svc.cluster.local":                      {},
		"cluster.local":                                     {},
	} {
		got, ok := hostname.Searched(name, "cluster.local")
		if ok != (want != hostname.Host{}) || ok && got != want {
			t.Errorf("%s: %v (%t), want %v", name, got, ok, want)
		}
	}
}

func TestSearchedUnder(t *testing.T) {
	t.Parallel()
	const all, shop = "*.svc.cluster.local", "*.shop.svc.cluster.local"
	for wildcard, want := range map[string]string{
		"*.cluster.local.app.svc.cluster.local":               all,
		"*.local.app.svc.cluster.local":                       all,
		"*.svc.cluster.local.app.svc.cluster.local":           all,
		"*.svc.app.svc.cluster.local":                         all,
		"*.svc.svc.cluster.local":                             all,
		"*.local.svc.cluster.local":                           all,
		"*.cluster.local.cluster.local":                       all,
		"*.shop.app.svc.cluster.local":                        shop,
		"*.Shop.app.svc.cluster.local.":                       shop,
		"*.shop.svc.app.svc.cluster.local":                    shop,
		"*.shop.svc.svc.cluster.local":                        shop,
		"*.shop.svc.cluster.local.app.svc.cluster.local":      shop,
		"*.shop.svc.cluster.local.svc.cluster.local":          shop,
		"*.shop.svc.cluster.local.cluster.local":              shop,
		"*.cart.shop.svc.cluster.local.app.svc.cluster.local": "", // names below a Service's
		"*.cart.shop.app.svc.cluster.local":                   "",
		"*.app.svc.cluster.local":                             "", // their own names
		"*.svc.cluster.local":                                 "",
		"*.cluster.local":                                     "",
		"*.local":                                             "",
		"*":                                                   "",
		"*hop.app.svc.cluster.local":                          "", // no label
		"*.shop.app.svc.example.com":                          "",
		"*.corp.cluster.local":                                "",
		"cart.shop.app.svc.cluster.local":                     "",
	} {
		got, namespace, ok := hostname.SearchedUnder(wildcard, "cluster.local")
		if ok != (want != "") || ok && (got != want || (namespace == "shop") != (want == shop)) {
			t.Errorf("%s: %s in %q (%t), want %s", wildcard, got, namespace, ok, want)
		}
	}
}
