package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"testing"
)

// entry is a ServiceEntry with one host.
const entry = `{"apiVersion": "networking.istio.io/%s", "kind": "ServiceEntry", "metadata": {%s}, "spec": {
"hosts": [%q], "resolution": "DNS", "ports": [{"number": 9080, "name": "http", "protocol": "HTTP"}]}}`

// evasion is one way around a rule: all steps but the last are taken, and the last is refused by the rule.
type evasion struct {
	rule  string
	steps []attempt
}

// attempt is one kubectl command, in the namespace of a client unless it says where.
type attempt struct{ stdin, args string }

func once(rule, stdin, args string) evasion { return evasion{rule, []attempt{{stdin, args}}} }

// evasions are for a strict Service reviews of the namespace HOME.
func evasions() map[string]evasion {
	const claims, foreign = "serviceentry-fenced-host", "virtualservice-foreign-host"
	const fqdn = "reviews.HOME.svc.cluster.local"
	const fenced = `{apiVersion: v1, kind: Service, metadata: {name: own, annotations: {meshfence.io/fence: strict}}, spec: {
selector: {app: own}, ports: [{name: http, port: 9080}]}}`
	named := `"name": "a"`
	create := "create -f -"
	all := map[string]evasion{
		"generateName":      once(claims, fmt.Sprintf(entry, "v1", `"generateName": "a-"`, fqdn), create),
		"apply":             once(claims, fmt.Sprintf(entry, "v1", named, fqdn), "apply -f -"),
		"server-side apply": once(claims, fmt.Sprintf(entry, "v1", named, fqdn), "apply --server-side -f -"),
		"closing dot":       once(claims, fmt.Sprintf(entry, "v1", named, fqdn+"."), create),
		"upper case":        once(claims, fmt.Sprintf(entry, "v1", named, "Reviews.HOME.SVC.cluster.LOCAL"), create),
		"a bare name":       once(claims, fmt.Sprintf(entry, "v1", named, "reviews"), create),
		"without domain":    once(claims, fmt.Sprintf(entry, "v1", named, "reviews.HOME"), create),
		"the last of two keys counts": once(claims, strings.Replace(fmt.Sprintf(entry, "v1", named, fqdn), `"hosts"`, `"hosts": ["a.example.com"], "hosts"`, 1),
			"create --raw /apis/networking.istio.io/v1/namespaces/CLIENT/serviceentries -f -"),
		"a route of the client's own": once(foreign, `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {
hosts: [`+fqdn+`], exportTo: ["."], http: [{route: [{destination: {host: a.example.com}}]}]}}`, create),
		"a delegate that comes second": {foreign, []attempt{
			{`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: root}, spec: {
hosts: [` + fqdn + `], http: [{match: [{uri: {prefix: /a}}], delegate: {name: more}}, {route: [{destination: {host: ` + fqdn + `}}]}]}}`, create},
			{`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: more}, spec: {http: [{route: [{destination: {host: a.example.com}}]}]}}`, create},
		}},
		"a delegate that comes first": {foreign, []attempt{
			{`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: more}, spec: {http: [{route: [{destination: {host: a.example.com}}]}]}}`, create},
			{`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: root}, spec: {
hosts: [` + fqdn + `], http: [{match: [{uri: {prefix: /a}}], delegate: {name: more}}, {route: [{destination: {host: ` + fqdn + `}}]}]}}`, create},
		}},
		"a selector that changes later": {"workloadentry-joins-fenced-service", []attempt{
			{fenced, create},
			{`{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: vm}, spec: {address: 10.9.9.9, labels: {app: vm}}}`, create},
			{args: `patch service own --type=merge -p {"spec":{"selector":{"app":"vm"}}}`},
		}},
		"a Gateway behind a fence of one's own": {"gateway-on-strict-destination", []attempt{
			{fenced, create},
			{`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: a}, spec: {
hosts: [` + fqdn + `], http: [{route: [{destination: {host: own.CLIENT.svc.cluster.local}}]}]}}`, create},
			{`{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: a}, spec: {
selector: {app: own}, servers: [{port: {number: 9080, name: http, protocol: HTTP}, hosts: ['*']}]}}`, create},
		}},
		"the name of a companion": once("companion-name-reserved",
			`{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: own-meshfence}, spec: {host: a.example.com}}`, create),
	}
	for _, version := range []string{"v1alpha3", "v1beta1", "v1"} {
		all["version "+version] = once(claims, fmt.Sprintf(entry, version, named, fqdn), create)
	}
	for _, host := range []string{"*.HOME.svc.cluster.local", "*.svc.cluster.local", "*.cluster.local", "*.local"} {
		all["wildcard "+host] = once(claims, fmt.Sprintf(entry, "v1", named, host), create)
	}
	harmless := attempt{fmt.Sprintf(entry, "v1", named, "a.example.com"), create}
	for kind, patch := range map[string]string{
		"json":  `[{"op":"add","path":"/spec/hosts/-","value":"` + fqdn + `"}]`,
		"merge": `{"spec":{"hosts":["` + fqdn + `"]}}`,
	} {
		all["two steps, "+kind+" patch"] = evasion{claims, []attempt{harmless, {args: "patch serviceentry a --type=" + kind + " -p " + patch}}}
	}
	all["two steps, replace"] = evasion{claims, []attempt{harmless, {fmt.Sprintf(entry, "v1", named, fqdn), "replace -f -"}}}
	maps.Copy(all, pairs())
	maps.Copy(all, statuses())
	return all
}

// TestEvasion: no other way of saying the same thing gets past a rule.
func TestEvasion(t *testing.T) {
	s := shared(t)
	s.configure(t, strings.Replace(defaultConfig, "[m1c1]", "[m1c1], network: own", 1))
	for name, e := range evasions() {
		t.Run(name, func(t *testing.T) {
			home, client := s.strictNamespace(t), s.CreateNamespace(t, nil)
			place := strings.NewReplacer("HOME", home, "CLIENT", client, "ADDRESS", s.clusterIP(t, home))
			// What is left of one evasion is the first half of another.
			t.Cleanup(func() { s.clear(t, home, client) })
			for i, step := range e.steps {
				args := strings.Fields(place.Replace(step.args))
				if !strings.Contains(step.args, "--raw") && !strings.Contains(step.args, "-n ") {
					args = append(args, "-n", client)
				}
				if i < len(e.steps)-1 {
					s.accepted(t, place.Replace(step.stdin), args...)
					continue
				}
				// What came before is in the index of every replica within moments.
				eventually(t, "the last step is refused", func(ctx context.Context) error {
					out, stderr, err := s.Kubectl(ctx, place.Replace(step.stdin), append(args, dryRun(step.args)...)...)
					if err == nil {
						return fmt.Errorf("not refused: %s", out)
					}
					if !strings.Contains(stderr, "["+e.rule+"]") {
						return fmt.Errorf("not refused by %s: %s", e.rule, stderr)
					}
					return nil
				})
			}
		})
	}
}

// accepted takes a step that is harmless by itself, as soon as every replica has forgotten what was cleared before.
func (s *suite) accepted(t *testing.T, stdin string, args ...string) {
	t.Helper()
	eventually(t, "a step is accepted", func(ctx context.Context) error {
		_, _, err := s.Kubectl(ctx, stdin, args...)
		return err
	})
}

// clusterIP returns the address of the Service reviews of a namespace.
func (s *suite) clusterIP(t *testing.T, namespace string) string {
	t.Helper()
	return s.kubectl(t, "", "get", "service", "reviews", "-n", namespace, "-o", "jsonpath={.spec.clusterIP}")
}

// clear deletes what evasions make: companions go with their Service.
func (s *suite) clear(t *testing.T, home, client string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for namespace, kinds := range map[string]string{home: "service", client: "sidecar,serviceentry,service"} {
		if _, _, err := s.Kubectl(ctx, "", "delete", kinds, "--all", "-n", namespace); err != nil {
			t.Error(err)
		}
	}
}

// dryRun lets a step be tried again; a raw request has none.
func dryRun(args string) []string {
	if strings.Contains(args, "--raw") {
		return nil
	}
	return []string{"--dry-run=server"}
}

// TestEvasionIsMended: what admission put into an object comes back when somebody takes it out, and what the API
// server does not know never gets in.
func TestEvasionIsMended(t *testing.T) {
	s := shared(t)
	home := s.strictNamespace(t)
	s.kubectl(t, fmt.Sprintf(rule, "v1", "reviews", home, "reviews"), "create", "-f", "-")
	fenced := func() bool {
		spec, _ := json.Marshal(s.get(t, "destinationrule", "reviews", "-n", home)["spec"])
		want, _ := json.Marshal(wantSpec("reviews"))
		return string(spec) == string(want)
	}
	for name, args := range map[string]string{
		"a subset's label": `patch destinationrule reviews --type=json -p [{"op":"remove","path":"/spec/subsets/0/labels/topology.istio.io~1cluster"}]`,
		"the subset":       `patch destinationrule reviews --type=json -p [{"op":"remove","path":"/spec/subsets/2"}]`,
		"the record":       `annotate destinationrule reviews meshfence.io/injected-`,
		"a field in snake case": `patch destinationrule reviews --type=merge -p ` +
			`{"spec":{"traffic_policy":{"tunnel":{"target_host":"a.example.com","target_port":443}}}}`,
		"the status subresource": `patch destinationrule reviews --subresource=status --type=merge -p ` +
			`{"spec":{"trafficPolicy":{"tunnel":{"targetHost":"a.example.com","targetPort":443}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			s.kubectl(t, "", append(strings.Fields(args), "-n", home)...)
			if !fenced() {
				t.Errorf("stored %v", s.get(t, "destinationrule", "reviews", "-n", home)["spec"])
			}
		})
	}
	s.kubectl(t, "", "label", "service", "reviews", "-n", home, "meshfence.io/fenced-")
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", home, "meshfence.io/fenced-by-")
	metadata, _ := s.get(t, "service", "reviews", "-n", home)["metadata"].(map[string]any)
	if labels, _ := metadata["labels"].(map[string]any); labels["meshfence.io/fenced"] != "strict" {
		t.Errorf("the Service's labels are %v", labels)
	}
	if annotations, _ := metadata["annotations"].(map[string]any); annotations["meshfence.io/fenced-by"] != "namespace "+home {
		t.Errorf("the Service's annotations are %v", annotations)
	}
}

// TestFenceIsForThoseWithTheRight: who has every right on Istio's API in a namespace, and none on its Services and
// the Namespace, cannot loosen a fence there.
func TestFenceIsForThoseWithTheRight(t *testing.T) {
	s := shared(t)
	home := s.strictNamespace(t)
	s.kubectl(t, "", "create", "role", "istio", "-n", home, "--verb=*", "--resource=destinationrules.networking.istio.io,virtualservices.networking.istio.io,serviceentries.networking.istio.io")
	s.kubectl(t, "", "create", "rolebinding", "istio", "-n", home, "--role=istio", "--user=bob")
	s.kubectl(t, fmt.Sprintf(rule, "v1", "reviews", home, "reviews"), "create", "-f", "-", "--as=bob")
	for _, args := range []string{
		"annotate service reviews meshfence.io/fence=none -n " + home,
		"label namespace " + home + " meshfence.io/fence-",
		"label namespace " + home + " meshfence.io/enforcement=audit",
	} {
		if stderr := s.refused(t, "", append(strings.Fields(args), "--as=bob")...); !strings.Contains(stderr, "Forbidden") {
			t.Errorf("%s: %s", args, stderr)
		}
	}
	stderr := s.refused(t, fmt.Sprintf(entry, "v1", `"name": "a"`, "reviews."+home+".svc.cluster.local"), "create", "-f", "-", "-n", home, "--as=bob")
	if !strings.Contains(stderr, "[serviceentry-fenced-host]") {
		t.Errorf("refused with %s", stderr)
	}
}
