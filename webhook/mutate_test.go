package webhook_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/test/fixtures"
)

func TestMutate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config string // fenced, where empty
		object string
		old    string
		want   string // the stored object; empty where nothing is to be done
	}{
		"Service without a fence": {
			object: service("default", "web", ""),
		},
		"Service of a fenced Namespace": {
			object: service("shop", "reviews", ""),
			want: `
apiVersion: v1
kind: Service
metadata:
  name: reviews
  namespace: shop
  labels: {meshfence.io/fenced: strict}
  annotations: {meshfence.io/fenced-by: "config scope.namespaces[0]"}
spec: {ports: [{port: 9080}]}
`,
		},
		"Service in enforcement audit is fenced all the same": {
			config: fenced + "enforcement: audit\n",
			object: service("default", "cache", "strict"),
			want: `
apiVersion: v1
kind: Service
metadata:
  name: cache
  namespace: default
  labels: {meshfence.io/fenced: strict}
  annotations: {meshfence.io/fence: strict, meshfence.io/fenced-by: service annotation}
spec: {ports: [{port: 9080}]}
`,
		},
		"DestinationRule of a host without a fence": {
			object: destinationRule("default", "web", "web"),
		},
		"DestinationRule of another cluster's name": {
			object: destinationRule("default", "web", "httpbin.example.com"),
		},
		"DestinationRule of a fenced host": {
			object: destinationRule("shop", "reviews", "reviews"),
			want: `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
  namespace: shop
  annotations:
    galley.istio.io/analyze-suppress: IST0173
    meshfence.io/injected: '{"labels":{"v1":"m1c1"},"analyzeSuppress":true}'
spec:
  host: reviews
  x-unknown: 12345678901234567890
  subsets:
  - {name: v1, labels: {version: v1, topology.istio.io/cluster: m1c1}}
  - {name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}
`,
		},
		"DestinationRule whose record somebody has taken out": {
			object: injectedRule("galley.istio.io/analyze-suppress: IST0173"),
			old:    injectedRule(ruleRecord),
			want:   injectedRule(ruleRecord),
		},
		"DestinationRule whose record somebody has taken out, and whose fence is gone": {
			config: strings.Replace(fenced, "fence: strict", "fence: none", 1),
			object: injectedRule("galley.istio.io/analyze-suppress: IST0173"),
			old:    injectedRule(ruleRecord),
			want:   destinationRule("shop", "reviews", "reviews"),
		},
		"DestinationRule that is written anew without a fence": {
			config: strings.Replace(fenced, "fence: strict", "fence: none", 1),
			object: destinationRule("shop", "reviews", "reviews"),
			old:    injectedRule(ruleRecord),
		},
		"DestinationRule with a label of its writer's own": {
			config: strings.Replace(fenced, "fence: strict", "fence: none", 1),
			object: injectedRule("a: b"),
			old:    injectedRule("a: b"),
			want:   strings.Replace(injectedRule("a: b"), "\n  - {name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}", "", 1),
		},
		"VirtualService whose record somebody has taken out": {
			config: strings.Replace(fenced, "[subset]", "[meshConfig]", 1),
			object: httpRoute(", annotations: {galley.istio.io/analyze-suppress: IST0112}", restRoutes),
			old:    httpRoute(restRecord, restRoutes),
			want:   httpRoute("", ""),
		},
		"VirtualService of a fenced host": {
			object: virtualService("shop", "reviews", "", ""),
			want:   virtualService("shop", "reviews", "", "meshfence-local"),
		},
		"VirtualService that is right": {
			object: virtualService("shop", "reviews", "", "meshfence-local"),
			old:    virtualService("shop", "reviews", "", "meshfence-local"),
		},
		"VirtualService with routes of one protocol": {
			object: httpRoute("", ""),
			want:   httpRoute(besideRecord, ""),
		},
		"VirtualService with routes that the companion has": {
			object: httpRoute(restRecord, restRoutes),
			want:   httpRoute(besideRecord, ""),
		},
		"VirtualService with routes that nothing needs any more": {
			config: strings.Replace(fenced, "[subset]", "[meshConfig]", 1),
			object: httpRoute(restRecord, restRoutes),
			want:   httpRoute("", ""),
		},
		"VirtualService with a record that nothing needs any more": {
			config: strings.Replace(fenced, "[subset]", "[meshConfig]", 1),
			object: httpRoute(", annotations: {meshfence.io/injected: '{}'}", ""),
			want:   httpRoute("", ""),
		},
		"VirtualService of a host without a fence": {
			object: virtualService("default", "web", "", ""),
		},
		"VirtualService where another hold does the work": {
			config: strings.Replace(fenced, "[subset]", "[meshConfig]", 1),
			object: virtualService("shop", "reviews", "", ""),
		},
		"VirtualService that keeps a reserved subset which nothing defines": {
			config: strings.Replace(fenced, "[subset]", "[meshConfig]", 1),
			object: virtualService("shop", "reviews", "", "meshfence-local"),
			want:   virtualService("shop", "reviews", "", ""),
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.config == "" {
				test.config = fenced
			}
			c := serve(t, test.config)
			r := request(t, test.object, test.old)
			for _, dryRun := range []bool{false, true} {
				r.DryRun = &dryRun
				response := c.ask(t, admit.MutatePath, r)
				if !response.Allowed {
					t.Fatalf("refused: %+v", response.Result)
				}
				if test.want == "" {
					assertUnpatched(t, response)
					continue
				}
				if response.PatchType == nil || *response.PatchType != admissionv1.PatchTypeJSONPatch {
					t.Errorf("patchType = %v", response.PatchType)
				}
				patched := applyPatch(t, r.Object.Raw, response.Patch)
				want := fixtures.Sorted(t, string(toJSON(t, test.want)))
				if diff := cmp.Diff(want, fixtures.Sorted(t, string(patched))); diff != "" {
					t.Errorf("stored object (-want +got):\n%s", diff)
				}
				again := *r
				again.Object.Raw = patched
				assertUnpatched(t, c.ask(t, admit.MutatePath, &again))
			}
			if asked := c.reader.asked(); len(asked) > 0 {
				t.Errorf("asked the API server for %v, which the index knows", asked)
			}
		})
	}
}

func TestMutateJSONEscapes(t *testing.T) {
	t.Parallel()
	c := serve(t, strings.Replace(fenced, "[subset]", "[meshConfig]", 1))
	r := request(t, virtualService("shop", "reviews", "", "meshfence-local"), "")
	r.Object.Raw = []byte(strings.ReplaceAll(string(r.Object.Raw), "meshfence-local", `m\u0065shfence-local`))
	response := c.ask(t, admit.MutatePath, r)
	if response.Patch == nil {
		t.Error("a reserved subset with an escaped letter is not removed")
	}
}

func assertUnpatched(t *testing.T, response *admissionv1.AdmissionResponse) {
	t.Helper()
	if !response.Allowed || response.Patch != nil || response.PatchType != nil {
		t.Errorf("allowed = %t, patch = %s, patchType = %v; want no patch", response.Allowed, response.Patch, response.PatchType)
	}
}

// applyPatch applies a patch as the API server does.
func applyPatch(t *testing.T, object, patch []byte) []byte {
	t.Helper()
	decoded, err := jsonpatch.DecodePatch(patch)
	if err != nil {
		t.Fatalf("decode patch %s: %v", patch, err)
	}
	patched, err := decoded.Apply(object)
	if err != nil {
		t.Fatalf("apply %s: %v", patch, err)
	}
	return patched
}

func service(namespace, name, fence string) string {
	object := "apiVersion: v1\nkind: Service\nmetadata:\n  name: " + name + "\n  namespace: " + namespace + "\n"
	if fence != "" {
		object += "  annotations: {meshfence.io/fence: " + fence + "}\n"
	}
	return object + "spec: {ports: [{port: 9080}]}\n"
}

// destinationRule has one subset, v1, and a field that no version of Istio knows.
func destinationRule(namespace, name, host string) string {
	return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: " + name + ", namespace: " + namespace + "}\n" +
		"spec:\n  host: " + host + "\n  x-unknown: 12345678901234567890\n  subsets:\n  - {name: v1, labels: {version: v1}}\n"
}

// ruleRecord are the annotations of an injectedRule.
const ruleRecord = `galley.istio.io/analyze-suppress: IST0173, meshfence.io/injected: '{"labels":{"v1":"m1c1"},"analyzeSuppress":true}'`

// injectedRule is the destinationRule of a fenced host as it is stored, but for its annotations.
func injectedRule(annotations string) string {
	return "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: reviews, namespace: shop, annotations: {" + annotations + "}}\n" +
		"spec:\n  host: reviews\n  x-unknown: 12345678901234567890\n  subsets:\n" +
		"  - {name: v1, labels: {version: v1, topology.istio.io/cluster: m1c1}}\n  - {name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}\n"
}

// virtualService routes a host to itself over HTTP, TLS and TCP, the first through one subset, the others
// through another.
func virtualService(namespace, host, first, others string) string {
	destination := func(subset string) string {
		if subset == "" {
			return "{destination: {host: " + host + ", port: {number: 9080}}}"
		}
		return "{destination: {host: " + host + ", port: {number: 9080}, subset: " + subset + "}}"
	}
	if first == "" {
		first = others
	}
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " + host + ", namespace: " + namespace + "}\n" +
		"spec:\n  hosts: [" + host + "]\n  http:\n  - timeout: 1500ms\n    route: [" + destination(first) + "]\n" +
		"  tls:\n  - match: [{sniHosts: [" + host + "]}]\n    route: [" + destination(others) + "]\n" +
		"  tcp:\n  - route: [" + destination(others) + "]\n"
}

// httpRoute routes a host over HTTP alone, and what else is given.
func httpRoute(annotations, more string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews, namespace: shop" + annotations + "}\n" +
		"spec:\n  hosts: [reviews]\n  http:\n  - route: [{destination: {host: reviews, subset: v1}}]\n" + more
}

// The annotations and the routes that an httpRoute is given.
const (
	besideRecord = `, annotations: {galley.istio.io/analyze-suppress: IST0109, meshfence.io/injected: '{"analyzeSuppressBeside":true}'}`
	restRecord   = `, annotations: {galley.istio.io/analyze-suppress: IST0112, meshfence.io/injected: ` +
		`'{"routes":{"tcp":[{"route":[{"destination":{"host":"reviews.shop.svc.cluster.local","subset":"meshfence-local"}}]}],` +
		`"tls":[{"match":[{"sniHosts":["reviews"]}],"route":[{"destination":{"host":"reviews.shop.svc.cluster.local","subset":"meshfence-local"}}]}]},"analyzeSuppress":true}'}`
	restRoutes = `
  tls:
  - match: [{sniHosts: [reviews]}]
    route: [{destination: {host: reviews.shop.svc.cluster.local, subset: meshfence-local}}]
  tcp:
  - route: [{destination: {host: reviews.shop.svc.cluster.local, subset: meshfence-local}}]
`
)
