package main

import (
	"os"
	"strings"
	"testing"
)

// servingShapes are what KServe writes for one InferenceService (reconcilers/ingress in its
// pkg/controller/v1beta1/inferenceservice) and Knative for one Service (its placeholder and revision), in a strict
// Namespace.
const servingShapes = `
apiVersion: v1
kind: Namespace
metadata: {name: models, labels: {meshfence.io/fence: strict}}
---
apiVersion: v1
kind: Service
metadata: {name: sklearn-predictor-00001, namespace: models, labels: {serving.knative.dev/revision: sklearn-predictor-00001}}
spec: {selector: {serving.knative.dev/revisionUID: a}, ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: sklearn, namespace: models}
spec: {type: ExternalName, externalName: knative-local-gateway.istio-system.svc.cluster.local, sessionAffinity: None}
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: sklearn, namespace: models}
spec:
  hosts: [sklearn.models.svc.cluster.local, sklearn-models.example.com]
  gateways: [knative-serving/knative-local-gateway, mesh, knative-serving/knative-ingress-gateway]
  http:
  - match: [{authority: {regex: '^sklearn\.models(\.svc(\.cluster\.local)?)?(?::\d{1,5})?$'}, gateways: [knative-serving/knative-local-gateway, mesh]}]
    headers: {request: {set: {Host: sklearn-predictor.models.svc.cluster.local}}}
    route: [{destination: {host: knative-local-gateway.istio-system.svc.cluster.local, port: {number: 80}}, weight: 100}]
`

// exemptionsOf returns the example of exemptions in a text, with nothing before it.
func exemptionsOf(t *testing.T, text string) string {
	t.Helper()
	_, example, found := strings.Cut(text, "    exemptions:\n")
	example, _, closed := strings.Cut(example, "\n\n")
	if !found || !closed {
		t.Fatal("no example of exemptions")
	}
	return "exemptions:\n" + example + "\n"
}

// TestServing: of what Knative and KServe make in a strict Namespace only what leads to their gateway is refused, and the
// exemptions of docs/refusals.md accept that.
func TestServing(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/refusals.md")
	if err != nil {
		t.Fatal(err)
	}
	config := strings.Replace(fenceConfig, "[subset]", "[meshConfig]", 1)
	dir := t.TempDir()
	manifests := write(t, dir, "models.yaml", servingShapes)
	code, out, _ := meshfence(t, "", "check", "-f", manifests, "--config", write(t, dir, "without.yaml", config))
	if code != 1 || strings.Count(out, "\n") != 2 || !strings.Contains(out, "[service-external-name]") || !strings.Contains(out, "[virtualservice-foreign-host]") {
		t.Errorf("without exemptions: exit code %d\n%s", code, out)
	}
	code, out, stderr := meshfence(t, "", "check", "-f", manifests, "--config", write(t, dir, "with.yaml", config+strings.ReplaceAll(exemptionsOf(t, string(page)), "2026-", "2999-")))
	if code != 0 || out != "" {
		t.Errorf("with the exemptions of docs/refusals.md: exit code %d\n%s%s", code, out, stderr)
	}
}
