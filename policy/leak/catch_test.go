package leak_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// part is one of the objects of a leak, without which there is none.
type part struct{ kind, object string }

const (
	hidden = "metadata: {name: default, namespace: app}\nspec: {egress: [{hosts: [./*, istio-system/*]}]}"
	opens  = "metadata: {name: db, namespace: app}\n" +
		"spec: {hosts: [db.example.com], resolution: STATIC, ports: [{number: 9090, protocol: TCP}], endpoints: [{address: 192.0.2.7}]}"
)

// service is shop/reviews, with further annotations.
func service(annotations string) part {
	return part{object.KindService, "metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict" + annotations + "}}\n" +
		"spec: {selector: {app: reviews}, clusterIP: 10.1.2.3, ports: [{name: http, port: 9080}, {name: tcp, port: 9090}]}"}
}

// TestWhicheverComesSecond: each part of a leak is found when the others exist, and not while one of them is missing.
func TestWhicheverComesSecond(t *testing.T) {
	t.Parallel()
	const private = `, networking.istio.io/exportTo: "., shop"`
	wild := "metadata: {name: wild, namespace: app}\nspec: {hosts: ['*.shop'], resolution: STATIC, ports: [{number: 9080, protocol: HTTP}], endpoints: [{address: 192.0.2.7}]}"
	routes := "metadata: {name: wild, namespace: app}\nspec: {hosts: ['*.shop'], http: [{route: [{destination: {host: www.example.com}}]}]}"
	proxy := "metadata: {name: default, namespace: app}\nspec: {outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: proxy.example.com}}}"
	for name, test := range map[string]struct {
		rule  string
		parts []part
	}{
		"listener":               {"serviceentry-takes-hidden-host", []part{{object.KindSidecar, hidden}, {object.KindServiceEntry, opens}, service("")}},
		"listener, not exported": {"serviceentry-takes-hidden-host", []part{{object.KindServiceEntry, opens}, service(private)}},
		"listener of its own": {"sidecar-port-takes-host", []part{
			{object.KindSidecar, "metadata: {name: default, namespace: app}\nspec: {egress: [{port: {number: 9080, protocol: TCP}, hosts: [./*]}, {hosts: ['*/*']}]}"},
			{object.KindServiceEntry, "metadata: {name: db, namespace: app}\nspec: {hosts: [db.example.com], resolution: DNS, ports: [{number: 9080, protocol: TCP}]}"},
			service(""),
		}},
		"listener of its own for a ServiceEntry of HTTP": {"sidecar-port-takes-host", []part{
			{object.KindSidecar, "metadata: {name: default, namespace: app}\nspec: {egress: [{port: {number: 9080, protocol: TCP}, hosts: [./*]}, {hosts: ['*/*']}]}"},
			{object.KindServiceEntry, "metadata: {name: db, namespace: app}\nspec: {hosts: [db.example.com], resolution: DNS, ports: [{number: 9080, protocol: HTTP}]}"},
			service(""),
		}},
		"listener for what is not HTTP": {"serviceentry-takes-http-port", []part{
			{object.KindServiceEntry, "metadata: {name: db, namespace: app}\nspec: {hosts: [db.example.com], resolution: DNS, ports: [{number: 9080, protocol: TCP}]}"},
			service(""),
		}},
		"wildcard":               {"wildcard-takes-hidden-host", []part{{object.KindSidecar, hidden}, {object.KindServiceEntry, wild}, service("")}},
		"wildcard, not exported": {"wildcard-takes-hidden-host", []part{{object.KindServiceEntry, wild}, service(private)}},
		"wildcard of routes":     {"wildcard-takes-hidden-host", []part{{object.KindSidecar, hidden}, {object.KindVirtualService, routes}, service("")}},
		"wildcard over a known":  {"wildcard-takes-short-name", []part{{object.KindServiceEntry, wild}, service("")}},
		"egress proxy":           {"sidecar-egress-proxy-takes-hidden-host", []part{{object.KindSidecar, proxy}, service(private)}},
		"egress proxy, not HTTP": {"sidecar-egress-proxy-takes-tcp", []part{{object.KindSidecar, proxy}, service("")}},
		"bound": {"sidecar-bind-takes-service-ip", []part{
			{object.KindSidecar, "metadata: {name: default, namespace: app}\nspec: {egress: [{bind: 10.1.2.3, hosts: [./*]}]}"}, service(""),
		}},
		"network of TLS": {"network-of-tls-hides-host", []part{
			{object.KindServiceEntry, "metadata: {name: net, namespace: app}\nspec: {hosts: [db.example.com], addresses: [10.0.0.0/8], resolution: STATIC, ports: [{number: 9080, protocol: TLS}], endpoints: [{address: 192.0.2.7}]}"},
			{object.KindSidecar, proxy}, service(""),
		}},
		"bound to every address": {"sidecar-bind-takes-service-ip", []part{
			{object.KindSidecar, "metadata: {name: default, namespace: app}\nspec: {egress: [{bind: 0.0.0.0, hosts: [./*]}]}"}, service(""),
		}},
		"address as Host": {"virtualservice-foreign-host", []part{
			{object.KindVirtualService, "metadata: {name: it, namespace: app}\nspec: {hosts: [10.1.2.3, www.example.com], http: [{route: [{destination: {host: www.example.com}}]}]}"}, service(""),
		}},
		"server name": {"virtualservice-foreign-host", []part{
			{object.KindVirtualService, "metadata: {name: it, namespace: app}\nspec: {hosts: ['*.local'], gateways: [ew], tls: [{match: [{sniHosts: [outbound_.9080_._.reviews.shop.svc.cluster.local]}], route: [{destination: {host: www.example.com}}]}]}"},
			service(""),
		}},
		"search domain": {"serviceentry-fenced-host", []part{
			{object.KindServiceEntry, "metadata: {name: it, namespace: app}\nspec: {hosts: [reviews.shop.app.svc.cluster.local], addresses: [240.240.9.9], ports: [{number: 1, protocol: TCP}]}"},
			service(""),
		}},
		"address in the status": {"serviceentry-service-ip", []part{
			{object.KindServiceEntry, opens + "\nstatus: {addresses: [{value: 10.1.2.3}]}"}, service(""),
		}},
	} {
		for second := range test.parts {
			last := test.parts[second]
			others := slices.Delete(slices.Clone(test.parts), second, second+1)
			t.Run(fmt.Sprintf("%s/%s", name, last.kind), func(t *testing.T) {
				t.Parallel()
				if findings := judgeLast(t, last, others); !slices.ContainsFunc(findings, func(f leak.Finding) bool { return f.Rule == test.rule }) {
					t.Errorf("must be found by %s, found:\n%s", test.rule, describe(findings))
				}
				for missing := range others {
					some := slices.Delete(slices.Clone(others), missing, missing+1)
					if findings := judgeLast(t, last, some); slices.ContainsFunc(findings, func(f leak.Finding) bool { return f.Rule == test.rule }) {
						t.Errorf("must not be found without %s, found:\n%s", others[missing].object, describe(findings))
					}
				}
			})
		}
	}
}

// judgeLast judges a part where the others exist.
func judgeLast(t *testing.T, last part, others []part) []leak.Finding {
	t.Helper()
	index := newIndex(t, "meshConfig")
	for _, namespace := range []string{"shop", "app"} {
		index.SetNamespace(namespace, nil)
	}
	for _, p := range others {
		index.SetObject(fromYAML(t, p.kind, p.object))
	}
	guard, w := leak.NewGuard(leak.Rules()), leak.Write{Object: fromYAML(t, last.kind, last.object)}
	if w.Service != nil {
		return guard.Existing(w, index.View())
	}
	return guard.Judge(w, index.View())
}
