package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rule has odd but equal values, which must survive as they are.
const rule = `apiVersion: networking.istio.io/%s
kind: DestinationRule
metadata: {name: %s, namespace: %s}
spec:
  host: "%s"
  trafficPolicy: {connectionPool: {tcp: {connectTimeout: 1500ms}, http: {idleTimeout: 1m}}}
  subsets:
  - {name: v1, labels: {version: v1}, trafficPolicy: {outlierDetection: {interval: 0.5s}}}
  - {name: v2}
`

func wantSpec(host string) map[string]any {
	var spec map[string]any
	err := json.Unmarshal(fmt.Appendf(nil, `{"host": %q,
"trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "1500ms"}, "http": {"idleTimeout": "1m"}}},
"subsets": [
{"name": "v1", "labels": {"version": "v1", "topology.istio.io/cluster": "m1c1"}, "trafficPolicy": {"outlierDetection": {"interval": "0.5s"}}},
{"name": "v2", "labels": {"topology.istio.io/cluster": "m1c1"}},
{"name": "meshfence-local", "labels": {"topology.istio.io/cluster": "m1c1"}}]}`, host), &spec)
	if err != nil {
		panic(err) // the text is above
	}
	return spec
}

// strictNamespace returns a fenced namespace with the Service reviews in it.
func (s *suite) strictNamespace(t *testing.T) string {
	t.Helper()
	namespace := s.CreateNamespace(t, map[string]string{"meshfence.io/fence": "strict"})
	s.kubectl(t, fmt.Sprintf(service, ""), "apply", "-n", namespace, "-f", "-")
	return namespace
}

func TestDestinationRuleIsFencedWhereverItStands(t *testing.T) {
	s := shared(t)
	home := s.strictNamespace(t)
	client := s.CreateNamespace(t, nil)
	s.istioNamespace(t)
	fqdn := "reviews." + home + ".svc.cluster.local"
	for _, version := range []string{"v1alpha3", "v1beta1", "v1"} {
		for name, test := range map[string]struct{ namespace, host string }{
			"short host at home":      {home, "reviews"},
			"full host at home":       {home, fqdn},
			"full host at the client": {client, fqdn},
			"wildcard at the client":  {client, "*." + home + ".svc.cluster.local"},
			"full host in the root":   {"istio-system", fqdn},
		} {
			t.Run(version+"/"+name, func(t *testing.T) {
				manifest := fmt.Sprintf(rule, version, "reviews", test.namespace, test.host)
				s.kubectl(t, manifest, "create", "-f", "-")
				got := s.get(t, "destinationrules.v1.networking.istio.io", "reviews", "-n", test.namespace)["spec"]
				if diff := cmp.Diff(any(wantSpec(test.host)), got); diff != "" {
					t.Errorf("spec (-want +got):\n%s", diff)
				}
				s.kubectl(t, "", "delete", "destinationrule", "reviews", "-n", test.namespace)
			})
		}
	}
	t.Run("a short host elsewhere is another host", func(t *testing.T) {
		s.kubectl(t, fmt.Sprintf(rule, "v1", "reviews", client, "reviews"), "create", "-f", "-")
		if _, ok := s.get(t, "destinationrule", "reviews", "-n", client)["metadata"].(map[string]any)["annotations"]; ok {
			t.Error("a rule for a host without a fence was changed")
		}
	})
}

func TestDestinationRuleByEveryVerb(t *testing.T) {
	s := shared(t)
	for name, write := range map[string]func(t *testing.T, manifest, namespace string){
		"apply":             func(t *testing.T, m, _ string) { s.kubectl(t, m, "apply", "-f", "-") },
		"apply server-side": func(t *testing.T, m, _ string) { s.kubectl(t, m, "apply", "--server-side", "-f", "-") },
		"replace": func(t *testing.T, m, namespace string) {
			s.kubectl(t, bare(namespace), "create", "-f", "-")
			s.kubectl(t, m, "replace", "-f", "-")
		},
		"patch": func(t *testing.T, _, namespace string) {
			s.kubectl(t, bare(namespace), "create", "-f", "-")
			s.kubectl(t, "", "patch", "destinationrule", "reviews", "-n", namespace, "--type=merge", "-p",
				`{"spec": {"trafficPolicy": {"connectionPool": {"tcp": {"connectTimeout": "1500ms"}, "http": {"idleTimeout": "1m"}}},
"subsets": [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {"outlierDetection": {"interval": "0.5s"}}}, {"name": "v2"}]}}`)
		},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := s.strictNamespace(t)
			manifest := fmt.Sprintf(rule, "v1", "reviews", namespace, "reviews")
			write(t, manifest, namespace)
			first := s.get(t, "destinationrule", "reviews", "-n", namespace)
			if diff := cmp.Diff(any(wantSpec("reviews")), first["spec"]); diff != "" {
				t.Fatalf("spec (-want +got):\n%s", diff)
			}
			if !strings.HasPrefix(name, "apply") {
				return
			}
			write(t, manifest, namespace)
			again := s.get(t, "destinationrule", "reviews", "-n", namespace)
			was, is := first["metadata"].(map[string]any)["generation"], again["metadata"].(map[string]any)["generation"]
			if was != is {
				t.Errorf("applying the same file again moved the generation from %v to %v", was, is)
			}
		})
	}
}

func bare(namespace string) string {
	return fmt.Sprintf(`{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews, namespace: %s}, spec: {host: reviews}}`, namespace)
}

func TestDryRunShowsWhatWouldBeStored(t *testing.T) {
	s := shared(t)
	namespace := s.strictNamespace(t)
	out := s.kubectl(t, fmt.Sprintf(rule, "v1", "reviews", namespace, "reviews"), "apply", "--dry-run=server", "-o", "json", "-f", "-")
	var object map[string]any
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(wantSpec("reviews")), object["spec"]); diff != "" {
		t.Errorf("spec (-want +got):\n%s", diff)
	}
	if out := s.kubectl(t, "", "get", "destinationrule", "reviews", "-n", namespace, "--ignore-not-found", "-o", "name"); out != "" {
		t.Errorf("a dry run stored %s", out)
	}
}

// A Service and what is around it come in one file; the informers of the replicas cannot have seen the
// Service when the rule arrives.
func TestOneFileWithServiceAndRule(t *testing.T) {
	s := shared(t)
	for i := range 5 {
		namespace := s.CreateNamespace(t, nil)
		file := fmt.Sprintf(service, "meshfence.io/fence: strict") + "---\n" + fmt.Sprintf(rule, "v1", "reviews", namespace, "reviews")
		s.kubectl(t, file, "apply", "-n", namespace, "-f", "-")
		got := s.get(t, "destinationrule", "reviews", "-n", namespace)["spec"]
		if diff := cmp.Diff(any(wantSpec("reviews")), got); diff != "" {
			t.Errorf("round %d, spec (-want +got):\n%s", i, diff)
		}
	}
}

func TestTakingTheFenceAwayRestoresTheRule(t *testing.T) {
	s := shared(t)
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, fmt.Sprintf(service, ""), "apply", "-n", namespace, "-f", "-")
	s.kubectl(t, fmt.Sprintf(rule, "v1", "reviews", namespace, "reviews"), "create", "-f", "-")
	original := s.get(t, "destinationrule", "reviews", "-n", namespace)
	touch := func(what string, done func(map[string]any) error) {
		t.Helper()
		eventually(t, what, func(context.Context) error {
			s.kubectl(t, "", "label", "destinationrule", "reviews", "-n", namespace, "--overwrite", "touched="+strings.ReplaceAll(what, " ", "-"))
			return done(s.get(t, "destinationrule", "reviews", "-n", namespace))
		})
	}
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence=strict")
	touch("fenced", func(o map[string]any) error { return differs(wantSpec("reviews"), o["spec"]) })
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence-")
	touch("restored", func(o map[string]any) error { return differs(original["spec"], o["spec"]) })
	if a := s.get(t, "destinationrule", "reviews", "-n", namespace)["metadata"].(map[string]any)["annotations"]; a != nil {
		t.Errorf("annotations are left: %v", a)
	}
}

func differs(want, got any) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("(-want +got):\n%s", diff)
	}
	return nil
}
