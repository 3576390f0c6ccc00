package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// A fence by annotation on a Service that a controller keeps is warned of, and that an update has taken a fence away is an
// Event.
func TestFenceOnOwned(t *testing.T) {
	s := shared(t)
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, "", "create", "configmap", "owner", "-n", namespace)
	uid := s.kubectl(t, "", "get", "configmap", "owner", "-n", namespace, "-o", "jsonpath={.metadata.uid}")
	manifest := fmt.Sprintf(`apiVersion: v1
kind: Service
metadata:
  name: owned
  ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: owner, uid: %s, controller: true}]
spec: {selector: {app: owned}, ports: [{name: http, port: 9080}]}
`, strings.TrimSpace(uid))
	s.kubectl(t, manifest, "create", "-n", namespace, "-f", "-")
	s.kubectl(t, fmt.Sprintf(service, ""), "create", "-n", namespace, "-f", "-")
	for name, warned := range map[string]bool{"owned": true, "reviews": false} {
		_, stderr, err := s.Kubectl(t.Context(), "", "annotate", "service", name, "-n", namespace, "meshfence.io/fence=strict")
		told := strings.Contains(stderr, "ConfigMap "+namespace+"/owner, which keeps the Service") && strings.Contains(stderr, "[service-fence-on-owned]")
		if err != nil || told != warned {
			t.Errorf("%s: warned %t, want %t: %v %s", name, told, warned, err, stderr)
		}
	}
	eventually(t, "the fences are known", func(context.Context) error {
		if _, out := s.run(t, "explain", namespace+"/owned"); !strings.Contains(out, "strict (service annotation)") {
			return fmt.Errorf("explained as\n%s", out)
		}
		return nil
	})
	eventually(t, "a replica leads, which tells of what is lost", func(ctx context.Context) error {
		_, _, err := s.Kubectl(ctx, "", "get", "destinationrule", "owned-meshfence", "reviews-meshfence", "-n", namespace)
		return err
	})
	s.kubectl(t, manifest, "replace", "-n", namespace, "-f", "-") // as a controller does
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence-")
	eventually(t, "the loss is told", func(ctx context.Context) error {
		events, _, err := s.Kubectl(ctx, "", "get", "events", "-n", namespace, "-o", `jsonpath={range .items[?(@.reason=="FenceLost")]}{.involvedObject.name}: {.message}{"\n"}{end}`)
		const note = "an update took the annotation meshfence.io/fence: strict away, and the fence is now none (config scope.default)"
		for _, want := range []string{"owned: " + note + "; the controller of ConfigMap owner keeps this Service", "reviews: " + note + "\n"} {
			if err == nil && strings.Count(events, want) != 1 {
				err = fmt.Errorf("not one Event %q in\n%s", want, events)
			}
		}
		return err
	})
}
