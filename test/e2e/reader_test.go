package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// readerScene is a strict Service, and an Ingress and a route to it that another controller reads.
const readerScene = `
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: NAMESPACE}
spec: {controller: k8s.io/ingress-nginx}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: NAMESPACE}
spec: {controllerName: example.com/gateway}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: front}
spec: {gatewayClassName: NAMESPACE, listeners: [{name: http, port: 80, protocol: HTTP}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: front}
spec: {ingressClassName: NAMESPACE, defaultBackend: {service: {name: reviews, port: {number: 9080}}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: front}
spec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: reviews, port: 9080}]}]}
`

// What another controller than Istio reads passes, also in one go with its class, and what becomes Istio's because its
// class is replaced is found by the audit.
func TestReader(t *testing.T) {
	s := shared(t)
	namespace := s.CreateNamespace(t, nil)
	scene := strings.ReplaceAll(readerScene, "NAMESPACE", namespace)
	s.kubectl(t, scene, "apply", "-n", namespace, "-f", "-")
	t.Cleanup(func() {
		if _, _, err := s.Kubectl(context.Background(), "", "delete", "ingressclass,gatewayclass", namespace); err != nil {
			t.Error(err)
		}
	})
	if _, out := s.run(t, "audit"); strings.Contains(out, namespace+"/front") {
		t.Errorf("of another controller:\n%s", out)
	}
	classes := strings.Replace(strings.Replace(scene, "k8s.io/ingress-nginx", "istio.io/ingress-controller", 1),
		"example.com/gateway", "istio.io/gateway-controller", 1)
	classes = strings.Join(strings.SplitN(classes, "---", 3)[:2], "---")
	s.kubectl(t, classes, "replace", "--force", "-f", "-") // the controller of a class cannot be changed
	eventually(t, "both are told to leak", func(ctx context.Context) error {
		events, _, err := s.Kubectl(ctx, "", "get", "events", "-n", namespace, "-o", "jsonpath={range .items[*]}{.reason} {.involvedObject.kind} {.message}{\"\\n\"}{end}")
		for _, kind := range []string{"Ingress", "HTTPRoute"} {
			if err == nil && !strings.Contains(events, "Leak "+kind) {
				err = fmt.Errorf("no Event on the %s in %q", kind, events)
			}
		}
		return err
	})
	documents := strings.Split(scene, "---")
	for _, document := range documents[len(documents)-2:] {
		renamed := strings.Replace(document, "metadata: {name: front}", "metadata: {name: other}", 1)
		if out := s.refused(t, renamed, "create", "-n", namespace, "-f", "-"); !strings.Contains(out, "[route-bypasses-subset]") {
			t.Errorf("refused by another rule: %s", out)
		}
	}
	if _, out := s.run(t, "audit"); strings.Count(out, namespace+"/front") != 2 {
		t.Errorf("of Istio:\n%s", out)
	}
}
