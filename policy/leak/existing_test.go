package leak_test

import (
	"slices"
	"testing"

	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// TestStanding finds what names a Service, chooses its Pods or claims its address, when the Service comes second.
func TestStandingRelations(t *testing.T) {
	t.Parallel()
	const shop = "metadata: {name: it, namespace: shop}\n"
	for name, test := range map[string]struct{ kind, object, hold, want string }{
		"host": {object.KindServiceEntry, "metadata: {name: it, namespace: app}\nspec: {hosts: [reviews.shop]}",
			"meshConfig", "serviceentry-fenced-host"},
		"selector": {object.KindServiceEntry, shop + "spec: {hosts: [a.example.com], workloadSelector: {labels: {app: reviews}}}",
			"meshConfig", "serviceentry-selects-fenced-pods"},
		"address": {object.KindServiceEntry, "metadata: {name: it, namespace: app}\n" +
			"spec: {hosts: [a.example.com], addresses: [10.0.0.0/8], resolution: STATIC, ports: [{number: 9080}]}",
			"meshConfig", "serviceentry-service-ip"},
		"network": {object.KindServiceEntry, "metadata: {name: it, namespace: app}\n" +
			"spec: {hosts: [reviews.shop], endpoints: [{address: 192.0.2.7, network: n2}]}",
			"meshConfig", "serviceentry-foreign-network"},
		"workload": {object.KindWorkloadEntry, shop + "spec: {address: 192.0.2.7, labels: {app: reviews}}",
			"meshConfig", "workloadentry-joins-fenced-service"},
		"workload group": {object.KindWorkloadGroup, shop + "spec: {template: {labels: {app: reviews}}}",
			"meshConfig", "workloadentry-joins-fenced-service"},
		"slice": {object.KindEndpointSlice, "metadata: {name: it, namespace: shop, labels: {kubernetes.io/service-name: reviews}}\n" +
			"endpoints: [{addresses: [192.0.2.7]}]", "meshConfig", "endpointslice-foreign-writer"},
		"backend": {object.KindHTTPRoute, shop + "spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{name: reviews}]}]}",
			"subset", "route-bypasses-subset"},
		"ingress": {object.KindIngress, shop + "spec: {defaultBackend: {service: {name: reviews}}}",
			"subset", "route-bypasses-subset"},
		"parent": {object.KindGRPCRoute, shop +
			`spec: {parentRefs: [{group: "", kind: Service, name: reviews}], rules: [{backendRefs: [{name: details}]}]}`,
			"meshConfig", "route-foreign-backend"},
		"import": {object.KindHTTPRoute, shop +
			"spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{group: multicluster.x-k8s.io, kind: ServiceImport, name: reviews}]}]}",
			"meshConfig", "route-foreign-backend"},
		"host in the cluster set": {object.KindHTTPRoute, "metadata: {name: it, namespace: app}\n" +
			"spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{group: networking.istio.io, kind: Hostname, name: reviews.shop.svc.clusterset.local}]}]}",
			"meshConfig", "route-foreign-backend"},
		"gateway": {object.KindGateway, "metadata: {name: it, namespace: app}\n" +
			"spec: {servers: [{tls: {mode: AUTO_PASSTHROUGH}, hosts: [shop/reviews.shop.svc.cluster.local]}]}",
			"meshConfig", "gateway-exposes-fenced-host"},
		"egress proxy": {object.KindSidecar, "metadata: {name: it, namespace: app}\n" +
			"spec: {outboundTrafficPolicy: {egressProxy: {host: reviews.shop.svc.cluster.local}}}",
			"subset", "sidecar-egress-proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			index := newIndex(t, test.hold)
			index.SetObject(fromYAML(t, test.kind, test.object))
			index.SetNamespace("shop", nil)
			service := fromYAML(t, object.KindService, "metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}\n"+
				"spec: {selector: {app: reviews}, clusterIP: 10.1.2.3, ports: [{name: http, port: 9080}]}")
			findings := leak.NewGuard(leak.Rules()).Existing(leak.Write{Object: service}, index.View())
			if !slices.ContainsFunc(findings, func(f leak.Finding) bool { return f.Rule == test.want }) {
				t.Errorf("must be found by %s, found:\n%s", test.want, describe(findings))
			}
		})
	}
}
