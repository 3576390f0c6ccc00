package search_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/search"
)

// What the search has found once, or what somebody has thought of and it was asked, and what has become of it: refused, warned of, or none of a strict host's connections.
func TestFound(t *testing.T) {
	service := func(namespace, name, fence, port string, number int, headless bool) search.Service {
		return search.Service{Namespace: namespace, Name: name, Fence: fence, Headless: headless, Ports: []search.Port{{Name: port, Number: number}}}
	}
	only := []policy.Hold{policy.MeshConfig}
	for name, tc := range map[string]struct {
		holds    []policy.Hold
		services []search.Service
		steps    []string
		refused  bool
		leaks    bool
	}{
		"a Sidecar binds the address of a Pod": {
			only, []search.Service{service("shop", "reviews", "none", "http-web", 80, false), service("shop", "ratings", "strict", "http-web", 80, true)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: app, name: a}, spec: {hosts: [db.example.com], resolution: DNS_ROUND_ROBIN, ports: [{name: c, number: 80, protocol: TCP}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: shop, name: default}, spec: {egress: [{bind: 10.1.0.6, hosts: [app/*]}]}}`,
			}, false, true,
		},
		"a wildcard over strict hosts at a gateway": {
			only, []search.Service{service("shop", "reviews", "strict", "http2", 9081, false), service("shop", "ratings", "none", "http2", 9081, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {namespace: web, name: b}, spec: {servers: [{hosts: ['*'], port: {name: b, number: 9060, protocol: HTTP}}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a}, spec: {gateways: [web/b], hosts: ['*.svc.cluster.local'], http: [{route: [{destination: {host: ratings.shop.svc.cluster.local}}]}]}}`,
			}, true, true,
		},
		"a wildcard with an address and without a port": {
			only, []search.Service{service("shop", "reviews", "strict", "https", 9443, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: app, name: a}, spec: {egress: [{hosts: [web/*]}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: c}, spec: {addresses: [10.2.9.9/32], hosts: ['*.shop']}}`,
			}, true, true,
		},
		"a route of tcp at a gateway": {
			only, []search.Service{service("shop", "reviews", "strict", "http", 9080, false), service("web", "ratings", "none", "http", 9080, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {namespace: istio-system, name: default}, spec: {servers: [{hosts: ['*.local'], port: {name: a, number: 80, protocol: TCP}}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: default}, spec: {gateways: [istio-system/default], hosts: [localhost], tcp: [{route: [{destination: {host: ratings.web.svc.cluster.local}, weight: 50}, {destination: {host: reviews.shop.svc.cluster.local}}]}]}}`,
			}, false, false,
		},
		"TLS without a server name, and an egress proxy": {
			[]policy.Hold{policy.Subset}, []search.Service{service("shop", "reviews", "strict", "tls", 9444, false), service("shop", "ratings", "none", "any", 9060, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: web, name: default}, spec: {outboundTrafficPolicy: {egressProxy: {host: ratings.shop.svc.cluster.local, port: {number: 9060}}, mode: ALLOW_ANY}}}`,
			}, false, true,
		},
		"a wildcard of short names at a gateway": {
			only, []search.Service{service("shop", "reviews", "strict", "http2", 9081, false), service("shop", "ratings", "none", "http2", 9081, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {namespace: web, name: b}, spec: {servers: [{hosts: ['*'], port: {name: b, number: 9060, protocol: HTTP}}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a}, spec: {gateways: [web/b], hosts: ['*.shop'], http: [{route: [{destination: {host: ratings.shop.svc.cluster.local}}]}]}}`,
			}, false, true,
		},
		"TCP on the port for other clusters": {
			only, []search.Service{service("shop", "reviews", "strict", "http", 9080, false), service("web", "ratings", "none", "http", 9080, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {namespace: web, name: b}, spec: {selector: {istio: eastwestgateway}, servers: [{hosts: ['*'], port: {name: b, number: 15443, protocol: TCP}}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: web, name: a}, spec: {gateways: [b], hosts: ['*'], tcp: [{route: [{destination: {host: ratings.web.svc.cluster.local}}]}]}}`,
			}, true, true,
		},
		"a ServiceEntry for the address of a Pod": {
			only, []search.Service{service("shop", "reviews", "none", "http", 9080, false), service("shop", "ratings", "strict", "http", 9080, true)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: a}, spec: {hosts: [db.example.com], addresses: [10.1.0.6], resolution: STATIC, ports: [{name: http, number: 9080, protocol: HTTP}], endpoints: [{address: 10.2.9.9}]}}`,
			}, false, true,
		},
		"a ServiceEntry for a name of a Pod": {
			only, []search.Service{service("shop", "reviews", "none", "http", 9080, false), service("shop", "ratings", "strict", "http", 9080, true)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: a}, spec: {hosts: [pod-0.ratings.shop.svc.cluster.local], resolution: STATIC, ports: [{name: http, number: 9080, protocol: HTTP}], endpoints: [{address: 10.2.9.9}]}}`,
			}, false, true,
		},
		"a VirtualService for the address of a Pod": {
			only, []search.Service{service("shop", "reviews", "none", "http", 9080, false), service("shop", "ratings", "strict", "http", 9080, true)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: web, name: a}, spec: {hosts: [10.1.0.6, reviews.shop.svc.cluster.local], http: [{route: [{destination: {host: reviews.shop.svc.cluster.local}}]}]}}`,
			}, false, true,
		},
		"a network of TLS beside a listener on every address": {
			[]policy.Hold{policy.Locality}, []search.Service{service("shop", "reviews", "strict", "http-web", 80, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: istio-system, name: default}, spec: {hosts: [ratings.shop], resolution: STATIC, ports: [{name: c, number: 80, protocol: TCP}], endpoints: [{address: 10.2.9.9}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: shop, name: b}, spec: {hosts: [www.example.com], addresses: [10.0.0.0/8], ports: [{name: b, number: 80, protocol: HTTPS}]}}`,
			}, true, true,
		},
		"routes of TLS for a network beside a listener on every address": {
			only, []search.Service{service("shop", "reviews", "strict", "http", 9080, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: shop, name: a}, spec: {hosts: ['*.example.com'], ports: [{name: http, number: 9080, protocol: HTTPS}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: c}, spec: {hosts: [ratings.shop.svc], resolution: STATIC, ports: [{name: tcp, number: 9080, protocol: TCP}], endpoints: [{address: 10.2.9.9}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: web, name: c}, spec: {hosts: [www.example.com], tls: [{match: [{destinationSubnets: [10.0.0.0/8], port: 9080, sniHosts: [www.example.com]}], route: [{destination: {host: reviews.shop.svc.cluster.local}}]}]}}`,
			}, true, true,
		},
		"the status of a ServiceEntry for the address of a Pod": {
			[]policy.Hold{policy.Locality}, []search.Service{service("shop", "reviews", "none", "https", 9443, false), service("shop", "details", "strict", "http2", 9081, true)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: b}, spec: {hosts: [www.example.com], resolution: STATIC, ports: [{name: c, number: 9081, protocol: HTTP2}], endpoints: [{address: 10.2.9.9}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: b}, spec: {hosts: [www.example.com], resolution: STATIC, ports: [{name: c, number: 9081, protocol: HTTP2}], endpoints: [{address: 10.2.9.9}]}, status: {addresses: [{host: www.example.com, value: 10.1.0.6}]}}`,
			}, false, true,
		},
		"a network with the Pods of a headless Service": {
			[]policy.Hold{policy.Locality}, []search.Service{service("shop", "reviews", "none", "tcp-db", 5432, false), service("shop", "ratings", "strict", "grpc", 9070, true)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: b}, spec: {hosts: [db.example.com], addresses: [10.0.0.0/8], resolution: STATIC, ports: [{name: a, number: 9070, protocol: TCP}], endpoints: [{address: 10.2.9.9, locality: region-m1c2/zone}]}}`,
			}, false, true,
		},
		"TLS for a short name, and an egress proxy": {
			only, []search.Service{service("shop", "reviews", "strict", "https", 9443, false), service("shop", "ratings", "none", "https", 9443, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: web, name: default}, spec: {hosts: ['*.svc.cluster.local'], tls: [{match: [{sniHosts: ['*.svc.cluster.local']}], route: [{destination: {host: reviews.shop.svc.cluster.local}}]}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {namespace: shop, name: b}, spec: {outboundTrafficPolicy: {egressProxy: {host: ratings.shop.svc.cluster.local, port: {number: 9443}}, mode: ALLOW_ANY}}}`,
			}, false, true,
		},
		"a route behind one for every request": {
			only, []search.Service{service("shop", "reviews", "strict", "http", 9080, false), service("shop", "ratings", "none", "http", 9080, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a}, spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews}}]}, {match: [{uri: {prefix: /v2}}], route: [{destination: {host: ratings}}], mirror: {host: ratings}}]}}`,
			}, false, false,
		},
		"a route behind one that leaves requests to a delegate": {
			only, []search.Service{service("shop", "reviews", "strict", "http", 9080, false), service("shop", "ratings", "none", "http", 9080, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: b}, spec: {http: [{match: [{uri: {prefix: /v2}}], route: [{destination: {host: reviews}}]}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: shop, name: a}, spec: {hosts: [reviews], http: [{delegate: {name: b}}, {route: [{destination: {host: ratings}}]}]}}`,
			}, true, true,
		},
		"a network that is not resolved goes to the Pods of the Service whose name it has": {
			only, []search.Service{service("shop", "reviews", "strict", "http", 9080, false), service("shop", "ratings", "none", "http", 9080, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: shop, name: c}, spec: {addresses: [10.96.0.0/24], hosts: [ratings.shop.svc.cluster.local], ports: [{name: b, number: 9080, protocol: TCP}]}}`,
			}, true, true,
		},
		"a network that is not resolved goes to the endpoints of another ServiceEntry of its host": {
			only, []search.Service{service("shop", "reviews", "strict", "http", 9080, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: d}, spec: {addresses: [192.0.2.9], hosts: [db.example.com], resolution: STATIC, ports: [{name: b, number: 9080, protocol: TCP}], endpoints: [{address: 10.2.9.9}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: c}, spec: {addresses: [10.96.0.0/24], hosts: [db.example.com], ports: [{name: b, number: 9080, protocol: TCP}]}}`,
			}, true, true,
		},
		"a network that is not resolved beside the host in another namespace": {
			only, []search.Service{service("shop", "reviews", "strict", "http", 9080, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: shop, name: d}, spec: {addresses: [192.0.2.9], hosts: [db.example.com], resolution: STATIC, ports: [{name: b, number: 9080, protocol: TCP}], endpoints: [{address: 10.2.9.9}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: c}, spec: {addresses: [10.96.0.0/24], hosts: [db.example.com], ports: [{name: b, number: 9080, protocol: TCP}]}}`,
			}, false, false,
		},
		"a route opens a ServiceEntry on a port of HTTP": {
			[]policy.Hold{policy.Locality, policy.Subset}, []search.Service{service("shop", "reviews", "strict", "grpc", 9070, false), service("shop", "ratings", "none", "grpc", 9070, false)},
			[]string{
				`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {namespace: web, name: a}, spec: {hosts: [db.example.com], ports: [{name: c, number: 9070, protocol: TCP}]}}`,
				`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {namespace: web, name: c}, spec: {hosts: [db.example.com], tcp: [{route: [{destination: {host: ratings.shop.svc.cluster.local}}]}]}}`,
			}, false, true,
		},
	} {
		world := search.World{Base: search.Base{Holds: policy.HoldsOf(tc.holds...), Namespaces: []string{"shop", "app", "web"}, Services: tc.services}}
		for _, text := range tc.steps {
			world.Steps = append(world.Steps, step(t, text))
		}
		last := len(world.Steps) - 1
		decided, err := search.Decide(world, -1)
		if err != nil {
			t.Fatal(err)
		}
		if decided.Accepted(last) == tc.refused {
			t.Errorf("%s: want refused %t", name, tc.refused)
		}
		evaluator := &search.Evaluator{Temp: t.TempDir}
		defer evaluator.Close()
		leaks := func(forced int) ([]search.Leak, search.Decided) {
			decided, err := search.Decide(world, forced)
			if err != nil {
				t.Fatal(err)
			}
			leaks, err := evaluator.Leaks(decided)
			if err != nil {
				t.Fatal(err)
			}
			return leaks, decided
		}
		if found, _ := leaks(last); (len(found) > 0) != tc.leaks {
			t.Errorf("%s: want that it leaks where it is stored %t, got %v", name, tc.leaks, found)
		}
		if found, decided := leaks(-1); len(decided.Serious(world, found)) > 0 {
			t.Errorf("%s: accepted and leaks: %v", name, found)
		}
	}
}
