package policy_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

func TestExported(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		list   []string
		client string
		want   bool
	}{
		"no list":               {nil, "app", true},
		"no list, any client":   {nil, "", true},
		"everybody":             {[]string{"app", "*"}, "web", true},
		"everybody, any client": {[]string{"*"}, "", true},
		"its own":               {[]string{"."}, "shop", true},
		"its own, elsewhere":    {[]string{"."}, "app", false},
		"its own, any client":   {[]string{"."}, "", false},
		"by name":               {[]string{".", "app"}, "app", true},
		"another name":          {[]string{"app"}, "shop", false},
		"nobody":                {[]string{"~"}, "shop", false},
		"nobody after all":      {[]string{"~", "app", "."}, "app", false},
	} {
		if got := object.Exported(test.list, "shop", test.client); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

func TestTransport(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		port object.ServicePort
		want object.Transport
	}{
		"no name":                 {object.ServicePort{Port: 80}, object.TransportAuto},
		"unknown name":            {object.ServicePort{Port: 80, Name: "web"}, object.TransportAuto},
		"HTTP":                    {object.ServicePort{Port: 80, Name: "http"}, object.TransportHTTP},
		"HTTP with more":          {object.ServicePort{Port: 80, Name: "http2-web"}, object.TransportHTTP},
		"upper case":              {object.ServicePort{Port: 80, Name: "GRPC-web"}, object.TransportHTTP},
		"a name that starts like": {object.ServicePort{Port: 80, Name: "httpweb"}, object.TransportAuto},
		"TLS":                     {object.ServicePort{Port: 443, Name: "https"}, object.TransportTLS},
		"MySQL":                   {object.ServicePort{Port: 80, Name: "mysql"}, object.TransportAlone},
		"a well-known port":       {object.ServicePort{Port: 3306, Name: "db"}, object.TransportTCP},
		"UDP":                     {object.ServicePort{Port: 53, Name: "http", Protocol: "UDP"}, object.TransportNone},
		"another protocol":        {object.ServicePort{Port: 80, Name: "http", AppProtocol: new("tcp")}, object.TransportTCP},
		"HTTP of Kubernetes":      {object.ServicePort{Port: 80, Name: "tcp", AppProtocol: new("kubernetes.io/ws")}, object.TransportHTTP},
		"TLS of Kubernetes":       {object.ServicePort{Port: 80, AppProtocol: new("kubernetes.io/wss")}, object.TransportTLS},
	} {
		if got := test.port.Transport(); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

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
