package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// twoFindings is a VirtualService whose route and mirror lead away from a host, and the Services.
const twoFindings = twoServices + `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: two}
spec: {hosts: [reviews], http: [{route: [{destination: {host: plain.open.svc.cluster.local}}], mirror: {host: plain.open.svc.cluster.local}}]}
`

// Two findings of one object are two Events, and all strict Services of a namespace without endpoints are one.
func TestEvents(t *testing.T) {
	s := shared(t)
	s.configure(t, strings.Replace(defaultConfig, "[subset]", "[meshConfig]", 1))
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, twoFindings, "apply", "-n", namespace, "-f", "-")
	s.kubectl(t, "", "label", "namespace", namespace, "meshfence.io/fence=strict")
	eventually(t, "both findings are told", func(ctx context.Context) error {
		notes, _, err := s.Kubectl(ctx, "", "get", "events", "-n", namespace, "-o", `jsonpath={range .items[?(@.reason=="Leak")]}{.involvedObject.name}: {.message}{"\n"}{end}`)
		if err != nil {
			return err
		}
		for _, want := range []string{"two: spec.http[0].route[0].destination.host", "two: spec.http[0].mirror.host"} {
			if strings.Count(notes, want) != 1 {
				return fmt.Errorf("not one Event %s in\n%s", want, notes)
			}
		}
		return nil
	})
	eventually(t, "the Services without endpoints are told", func(ctx context.Context) error {
		notes, _, err := s.Kubectl(ctx, "", "get", "events", "-A", "-o", `jsonpath={range .items[?(@.reason=="NoLocalEndpoint")]}{.involvedObject.kind}/{.involvedObject.name}: {.message}{"\n"}{end}`)
		if err != nil {
			return err
		}
		want := "Namespace/" + namespace + ": strict Services without a ready endpoint in this cluster, calls to which fail: 2 (ratings, reviews)\n"
		if strings.Count(notes, want) != 1 || strings.Contains(notes, "Service/") {
			return fmt.Errorf("not one Event %s in\n%s", want, notes)
		}
		return nil
	})
}
