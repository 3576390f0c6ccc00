package e2e_test

import (
	"strings"
	"testing"
)

const dryRunService = `
apiVersion: v1
kind: Service
metadata: {name: shop, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: shop}, ports: [{name: http, port: 80}]}
`

// dryRunSet is a set of which a dry run stores nothing, so that its second object cannot see the first.
const dryRunSet = `
apiVersion: v1
kind: Service
metadata: {name: shop-canary, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: shop, track: canary}, ports: [{name: http, port: 80}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: shop}
spec:
  hosts: [shop]
  http:
  - route:
    - {destination: {host: shop}, weight: 90}
    - {destination: {host: shop-canary}, weight: 10}
`

// A dry run of a set is warned of what waits for another object of the set, the set itself passes, and a route to a
// Service that exists and is not strict is refused even in a dry run.
func TestDryRun(t *testing.T) {
	s := shared(t)
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, dryRunService, "apply", "-n", namespace, "-f", "-")
	_, stderr, err := s.Kubectl(t.Context(), dryRunSet, "apply", "--dry-run=server", "-n", namespace, "-f", "-")
	if err != nil || !strings.Contains(stderr, "because there is no Service "+namespace+"/shop-canary yet [virtualservice-foreign-host]") {
		t.Errorf("dry run: %v, %q", err, stderr)
	}
	service, route, _ := strings.Cut(dryRunSet, "---")
	if out := s.refused(t, route, "apply", "-n", namespace, "-f", "-"); !strings.Contains(out, "[virtualservice-foreign-host]") {
		t.Errorf("refused by another rule: %s", out)
	}
	s.kubectl(t, dryRunSet, "apply", "-n", namespace, "-f", "-")
	s.kubectl(t, "", "delete", "virtualservice", "shop", "-n", namespace)
	s.kubectl(t, strings.Replace(service, "strict", "none", 1), "apply", "-n", namespace, "-f", "-")
	if out := s.refused(t, route, "apply", "--dry-run=server", "-n", namespace, "-f", "-"); !strings.Contains(out, "[virtualservice-foreign-host]") {
		t.Errorf("refused by another rule: %s", out)
	}
}
