package e2e_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// twoServices are the Services that the scenes of holds and of Events have.
const twoServices = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
`

// holdRule has a subset of another cluster, which harms nobody while meshConfig is active, and nobody that no route
// leads to it.
const holdRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s}
spec: {host: ratings, subsets: [{name: other, labels: {topology.istio.io/cluster: m1c2}}]}
`

// holdRoute leads to the subset of holdRule, or to none.
const holdRoute = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %s}
spec: {hosts: [ratings], http: [{route: [{destination: {host: ratings%s}}]}]}
`

// meshFault is a way in which a mesh ConfigMap does not hold what hold meshConfig claims.
type meshFault struct {
	name string
	// text is the mesh config, and pad the size of what is beside it; deleted says that the ConfigMap goes, and
	// revision that the FenceConfig names one more, which RBAC does not.
	text              string
	pad               int
	deleted, revision bool
	// reason is what the commands say, which may read more than replicas, and noted what replicas do where that differs.
	reason, noted string
}

func meshFaults() []meshFault {
	const alias = "x: &s\n- settings: {clusterLocal: true}\n  hosts: [\"a.b.svc.cluster.local\"]\nserviceSettings: *s\n"
	const istio = "ConfigMap istio-system/istio "
	const lacks = istio + "lacks clusterLocal entries of strict hosts, and nobody but you can add them: "
	return []meshFault{
		{name: "deleted", deleted: true, text: "{}", reason: istio + "does not exist"},
		{name: "alias list", text: alias, reason: lacks},
		{name: "duplicate serviceSettings", text: "serviceSettings: []\nserviceSettings: []\n", reason: istio + "cannot be read by meshfence: mesh config "},
		{name: "two documents", text: "a: b\n---\na: b\n", reason: istio + "cannot be read by meshfence: mesh config "},
		{name: "too large", text: "a: b\n", pad: 1<<20 - 20, reason: lacks + "it would become too large for a ConfigMap"},
		{name: "revision that RBAC does not name", text: "{}", revision: true, reason: "ConfigMap istio-system/istio-canary does not exist",
			noted: "ConfigMap istio-system/istio-canary cannot be read: "},
	}
}

// TestBrokenMeshConfig: whatever keeps a mesh ConfigMap from holding the scope, every replica knows that hold meshConfig
// is not active: admission refuses what would leak now, and adds what subset needs alone where it is named; audit,
// explain, a metric and an Event say so.
func TestBrokenMeshConfig(t *testing.T) {
	s := shared(t)
	s.istioNamespace(t)
	faults := meshFaults()
	if !*full {
		faults = faults[:2]
	}
	for _, holds := range []string{"meshConfig", "meshConfig, subset"} {
		for _, fault := range faults {
			t.Run(holds+", "+fault.name, func(t *testing.T) {
				h := &brokenHold{suite: s, meshFault: fault, alone: holds == "meshConfig"}
				h.config = strings.Replace(meshHoldConfig, "[meshConfig]", "["+holds+"]", 1)
				h.arrange(t)
				h.breakIt(t)
				h.admission(t)
				h.commands(t)
				h.told(t)
				h.fix(t)
			})
		}
	}
}

// brokenHold is one row of the table.
type brokenHold struct {
	*suite
	meshFault
	alone     bool // meshConfig is the only hold that is named
	config    string
	namespace string
}

// active waits until every replica says of hold meshConfig that it is active, or not.
func (h *brokenHold) active(t *testing.T, want float64) {
	t.Helper()
	eventually(t, fmt.Sprintf("meshConfig is %v on every replica", want), func(context.Context) error {
		for i := range h.meshfence.Replicas() {
			if got := h.metric(t, i, `meshfence_hold_active{hold="meshConfig"}`); got != want {
				return fmt.Errorf("%v on replica %d", got, i)
			}
		}
		return nil
	})
}

// arrange has all in order.
func (h *brokenHold) arrange(t *testing.T) {
	t.Helper()
	h.configure(t, h.config)
	h.namespace = h.CreateNamespace(t, map[string]string{"meshfence.io/fence": "strict"})
	h.kubectl(t, twoServices, "apply", "-n", h.namespace, "-f", "-")
	h.install(t, "{}")
	t.Cleanup(func() {
		h.kubectlInCleanup(t, "delete", "configmap", "istio", "-n", "istio-system", "--ignore-not-found")
		h.kubectlInCleanup(t, "label", "namespace", h.namespace, "meshfence.io/fence-")
	})
	h.active(t, 1)
	eventually(t, "what meshConfig makes harmless is accepted", func(ctx context.Context) error {
		both := fmt.Sprintf(holdRule, "foreign") + "---" + fmt.Sprintf(holdRoute, "foreign", ", subset: other")
		_, _, err := h.Kubectl(ctx, both, "apply", "-n", h.namespace, "-f", "-")
		return err
	})
}

// breakIt makes the hold untrue. A form that cannot be edited is stored before anything is enforced.
func (h *brokenHold) breakIt(t *testing.T) {
	t.Helper()
	switch {
	case h.deleted:
		_, stderr, err := h.Kubectl(t.Context(), "", "delete", "configmap", "istio", "-n", "istio-system")
		if err != nil || !strings.Contains(stderr, "metadata.name: must stay while Services are strict, because hold meshConfig is not active without it") {
			t.Errorf("deletion: %v, warnings %q", err, stderr)
		}
	case h.revision:
		h.configure(t, strings.Replace(h.config, "[m1c1]", "[m1c1], meshConfigMaps: [istio, istio-canary]", 1))
	default:
		h.configure(t, h.config+"enforcement: audit\n")
		h.kubectl(t, h.manifest(t), "apply", "--server-side", "--force-conflicts", "-f", "-")
		h.configure(t, h.config)
	}
	h.active(t, 0)
}

func (h *brokenHold) manifest(t *testing.T) string {
	t.Helper()
	data := map[string]string{"mesh": h.text}
	if h.pad > 0 {
		data["pad"] = strings.Repeat("x", h.pad)
	}
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "istio", "namespace": "istio-system"}, "data": data,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(manifest)
}

// admission shows what is refused, and what is added, by every replica.
func (h *brokenHold) admission(t *testing.T) {
	t.Helper()
	for range 4 { // whichever replica answers
		for rule, manifest := range map[string]string{
			"destinationrule-foreign-subset": fmt.Sprintf(holdRule, "another"),
			"virtualservice-foreign-subset":  fmt.Sprintf(holdRoute, "another", ", subset: other"),
		} {
			if stderr := h.refused(t, manifest, "create", "--dry-run=server", "-n", h.namespace, "-f", "-"); !strings.Contains(stderr, "["+rule+"]") {
				t.Errorf("refused without %s: %s", rule, stderr)
			}
		}
		routes := h.kubectl(t, fmt.Sprintf(holdRoute, "plain", ""), "create", "--dry-run=server", "-o", "yaml", "-n", h.namespace, "-f", "-")
		if strings.Contains(routes, "meshfence-local") == h.alone {
			t.Errorf("routes are stored as\n%s", routes)
		}
	}
}

// commands shows what audit and explain say.
func (h *brokenHold) commands(t *testing.T) {
	t.Helper()
	held := "nothing"
	if !h.alone {
		held = "subset"
	}
	eventually(t, "the commands tell", func(context.Context) error {
		code, out := h.run(t, "audit")
		for _, want := range []string{"broken: " + h.reason, "denied: DestinationRule " + h.namespace + "/foreign: spec.subsets[0]"} {
			if code != 1 || !strings.Contains(out, want) {
				return fmt.Errorf("audit: exit code %d, without %q\n%s", code, want, out)
			}
		}
		row := ""
		for line := range strings.Lines(out) {
			if strings.HasPrefix(line, h.namespace+"/reviews ") {
				row = strings.TrimSpace(line)
			}
		}
		if !strings.HasSuffix(row, " "+held) || strings.Contains(out, "not held: Service "+h.namespace+"/reviews: "+h.reason) != h.alone {
			return fmt.Errorf("audit: row %q, want it held by %s\n%s", row, held, out)
		}
		code, out = h.run(t, "explain", h.namespace+"/reviews")
		for _, want := range []string{"Hold meshConfig", "broken: " + h.reason, "Held by", held} {
			if code != 0 || !strings.Contains(out, want) {
				return fmt.Errorf("explain: exit code %d, without %q\n%s", code, want, out)
			}
		}
		return nil
	})
}

// told shows that an Event of every replica tells of it, and one of the leader of the Services that nothing holds.
func (h *brokenHold) told(t *testing.T) {
	t.Helper()
	eventually(t, "the Events are there", func(context.Context) error {
		by := map[string]bool{}
		for _, e := range h.events(t, "meshfence-system") {
			if e.Reason == "HoldNotActive" && e.Regarding.Name == "meshfence" && strings.Contains(e.Note, "hold meshConfig is named and not active, because it is broken: "+cmp.Or(h.noted, h.reason)) {
				by[e.Related.Name] = true
			}
		}
		for i := range h.meshfence.Replicas() {
			if !by[h.meshfence.Pod(i)] {
				return fmt.Errorf("none of replica %d, but of %v", i, by)
			}
		}
		return nil
	})
	if !h.alone || !h.deleted {
		return
	}
	eventually(t, "the Services that nothing holds are told of", func(context.Context) error {
		if n := h.leading(t, `meshfence_strict_services_not_held{reason="mesh-config-broken"}`); n < 2 {
			return fmt.Errorf("the metric is %v", n)
		}
		for _, e := range h.events(t, h.namespace) {
			if e.Reason == "NotHeld" && e.Regarding.Name == "reviews" && strings.Contains(e.Note, h.reason) {
				return nil
			}
		}
		return fmt.Errorf("no Event")
	})
}

// event is what is read of an Event.
type event struct {
	Reason, Note       string
	Regarding, Related struct{ Name string }
}

// events lists the Events of a Namespace.
func (s *suite) events(t *testing.T, namespace string) []event {
	t.Helper()
	var list struct{ Items []event }
	if err := json.Unmarshal([]byte(s.kubectl(t, "", "get", "events.events.k8s.io", "-n", namespace, "-o", "json")), &list); err != nil {
		t.Fatal(err)
	}
	return list.Items
}

// fix shows that all is as before when the mesh ConfigMap holds the scope again.
func (h *brokenHold) fix(t *testing.T) {
	t.Helper()
	if h.revision {
		h.configure(t, h.config)
	} else {
		h.install(t, "{}")
	}
	h.active(t, 1)
	eventually(t, "the commands tell", func(context.Context) error {
		_, out := h.run(t, "audit")
		if strings.Contains(out, "broken") || strings.Contains(out, "not held") || strings.Contains(out, "denied: ") {
			return fmt.Errorf("audit:\n%s", out)
		}
		return nil
	})
	routes := h.kubectl(t, fmt.Sprintf(holdRoute, "plain", ""), "create", "--dry-run=server", "-o", "yaml", "-n", h.namespace, "-f", "-")
	if strings.Contains(routes, "meshfence-local") {
		t.Errorf("routes are stored as\n%s", routes)
	}
}

// TestNotHeld: a rule that a user wrote before the fence, and that another policy keeps as it is, keeps its Service from
// being held: audit, explain, a metric and an Event say so until it has the subset.
func TestNotHeld(t *testing.T) {
	s := shared(t)
	namespace := s.CreateNamespace(t, nil)
	const unfenced = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, labels: {refuse: ""}}
spec: {host: ratings, subsets: [{name: v1, labels: {version: v1}}]}
`
	s.kubectl(t, twoServices+"---"+unfenced, "apply", "-n", namespace, "-f", "-")
	s.kubectl(t, refusal, "apply", "-f", "-")
	t.Cleanup(func() {
		s.kubectlInCleanup(t, "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", "refuse")
	})
	eventually(t, "the policy is in force", func(ctx context.Context) error {
		_, _, err := s.Kubectl(ctx, "", "annotate", "destinationrule", "ratings", "-n", namespace, "any=thing", "--overwrite")
		if err == nil {
			return errors.New("the write was not refused")
		}
		return nil
	})
	s.kubectl(t, "", "annotate", "service", "ratings", "-n", namespace, "meshfence.io/fence=strict")
	const reason = "rule-without-subset"
	missing := "DestinationRule " + namespace + "/ratings: subset v1 must be \"m1c1\" [" + reason + "]"
	eventually(t, "it is told", func(context.Context) error {
		if code, out := s.run(t, "audit"); code != 1 || !strings.Contains(out, "not held: Service "+namespace+"/ratings: "+missing) {
			return fmt.Errorf("audit: exit code %d\n%s", code, out)
		}
		if _, out := s.run(t, "explain", namespace+"/ratings"); !strings.Contains(out, missing) {
			return fmt.Errorf("explain:\n%s", out)
		}
		for _, e := range s.events(t, namespace) {
			if e.Reason == "NotHeld" && e.Regarding.Name == "ratings" && s.leading(t, `meshfence_strict_services_not_held{reason="`+reason+`"}`) > 0 {
				return nil
			}
		}
		return fmt.Errorf("no Event, or no metric")
	})
	s.kubectl(t, "", "label", "destinationrule", "ratings", "-n", namespace, "refuse-")
	eventually(t, "it is over", func(context.Context) error {
		if _, out := s.run(t, "audit"); strings.Contains(out, "not held: Service "+namespace+"/ratings") {
			return fmt.Errorf("audit:\n%s", out)
		}
		return nil
	})
}
