package policy_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
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
		if got := policy.Exported(test.list, "shop", test.client); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

func TestTransport(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		port policy.ServicePort
		want policy.Transport
	}{
		"no name":                 {policy.ServicePort{Port: 80}, policy.TransportAuto},
		"unknown name":            {policy.ServicePort{Port: 80, Name: "web"}, policy.TransportAuto},
		"HTTP":                    {policy.ServicePort{Port: 80, Name: "http"}, policy.TransportHTTP},
		"HTTP with more":          {policy.ServicePort{Port: 80, Name: "http2-web"}, policy.TransportHTTP},
		"upper case":              {policy.ServicePort{Port: 80, Name: "GRPC-web"}, policy.TransportHTTP},
		"a name that starts like": {policy.ServicePort{Port: 80, Name: "httpweb"}, policy.TransportAuto},
		"TLS":                     {policy.ServicePort{Port: 443, Name: "https"}, policy.TransportTLS},
		"MySQL":                   {policy.ServicePort{Port: 80, Name: "mysql"}, policy.TransportAlone},
		"a well-known port":       {policy.ServicePort{Port: 3306, Name: "db"}, policy.TransportTCP},
		"UDP":                     {policy.ServicePort{Port: 53, Name: "http", Protocol: "UDP"}, policy.TransportNone},
		"another protocol":        {policy.ServicePort{Port: 80, Name: "http", AppProtocol: new("tcp")}, policy.TransportTCP},
		"HTTP of Kubernetes":      {policy.ServicePort{Port: 80, Name: "tcp", AppProtocol: new("kubernetes.io/ws")}, policy.TransportHTTP},
		"TLS of Kubernetes":       {policy.ServicePort{Port: 80, AppProtocol: new("kubernetes.io/wss")}, policy.TransportTLS},
	} {
		if got := test.port.Transport(); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestSearched(t *testing.T) {
	t.Parallel()
	cart := policy.Host{Namespace: "shop", Name: "cart"}
	for name, want := range map[string]policy.Host{
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
		got, ok := policy.Searched(name, "cluster.local")
		if ok != (want != policy.Host{}) || ok && got != want {
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
		got, namespace, ok := policy.SearchedUnder(wildcard, "cluster.local")
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
		if got, ok := policy.ServerName(name); got != want || ok != (want != "") {
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
		if got, ok := policy.ShortWildcard(host); got != want || ok != (want != "") {
			t.Errorf("%s: %q (%t), want %q", host, got, ok, want)
		}
	}
}
