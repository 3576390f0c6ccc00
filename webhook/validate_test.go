package webhook_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

const passthrough = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: shop}
spec:
  host: reviews
  trafficPolicy:
    loadBalancer: {simple: PASSTHROUGH}
    portLevelSettings:
    - {port: {number: 1}}
    - {port: {number: 2}, loadBalancer: {simple: PASSTHROUGH}}
  subsets:
  - {name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}
`

const exempt = `
exemptions:
- {rule: destinationrule-passthrough, namespace: shop, name: reviews, until: %DAY%, reason: agreed}
`

// messages returns the messages of the guard for an object in YAML, which are for package leak to test.
func messages(t *testing.T, config, obj string) []string {
	t.Helper()
	c := serve(t, config)
	r := request(t, obj, "")
	decoded, err := object.Decode(r.Kind.Kind, r.Object.Raw)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, f := range leak.NewGuard(leak.Rules()).Check(decoded, c.index.View()) {
		list = append(list, f.Message())
	}
	return list
}

func TestValidate(t *testing.T) {
	t.Parallel()
	places := []string{
		"destinationrule-passthrough spec.trafficPolicy.loadBalancer.simple",
		"destinationrule-passthrough spec.trafficPolicy.portLevelSettings[1].loadBalancer.simple",
	}
	found := strings.Join(places, ", ")
	passthroughMessage := messages(t, fenced, passthrough)[0]
	warnings := []string{
		"spec.trafficPolicy.loadBalancer.simple: " + passthroughMessage,
		"spec.trafficPolicy.portLevelSettings[1].loadBalancer.simple: " + passthroughMessage,
	}
	ended := func(until string) []string {
		const id = " [destinationrule-passthrough]"
		note := "; accepted by an exemption until " + until + id
		return []string{strings.TrimSuffix(warnings[0], id) + note, strings.TrimSuffix(warnings[1], id) + note}
	}
	invalid := func(field, value, message string) metav1.StatusCause {
		return metav1.StatusCause{Type: "FieldValueInvalid", Field: field, Message: fmt.Sprintf("Invalid value: %q: %s", value, message)}
	}
	causes := []metav1.StatusCause{
		invalid("spec.trafficPolicy.loadBalancer.simple", "PASSTHROUGH", passthroughMessage),
		invalid("spec.trafficPolicy.portLevelSettings[1].loadBalancer.simple", "PASSTHROUGH", passthroughMessage),
	}
	const reviews, ratings = "reviews.shop.svc.cluster.local", "ratings.shop.svc.cluster.local"
	entry := serviceEntry("a.x.org", "b.x.org", reviews, "c.x.org", "d.x.org", "e.x.org", "f.x.org", "g.x.org", "h.x.org", "i.x.org", ratings)
	unknown := "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {meshfence.io/fence: tight}}}"
	lockedConfig := strings.Replace(fenced, "fence: strict", "fence: strict, locked: true", 1)
	tests := map[string]struct {
		config   string // fenced, where empty
		object   string
		old      string
		labels   map[string]string // of namespace shop
		causes   []metav1.StatusCause
		warnings []string
		audit    map[string]string
	}{
		"nothing to say": {
			object: destinationRule("default", "web", "web"),
		},
		"denied": {
			object: passthrough, causes: causes, audit: map[string]string{"denied": found},
		},
		"warned": {
			config: fenced + "enforcement: warn\n",
			object: passthrough, warnings: warnings, audit: map[string]string{"warned": found},
		},
		"audited": {
			config: fenced + "enforcement: audit\n",
			object: passthrough, audit: map[string]string{"audited": found},
		},
		"softened by the Namespace": {
			object: passthrough, labels: map[string]string{"meshfence.io/enforcement": "warn"},
			warnings: warnings, audit: map[string]string{"warned": found},
		},
		"locked, not for the Namespace to soften": {
			config: lockedConfig,
			object: passthrough,
			labels: map[string]string{"meshfence.io/enforcement": "warn"},
			causes: []metav1.StatusCause{
				invalid(causes[0].Field, "PASSTHROUGH", messages(t, lockedConfig, passthrough)[0]),
				invalid(causes[1].Field, "PASSTHROUGH", messages(t, lockedConfig, passthrough)[1]),
			},
			audit: map[string]string{"denied": found},
		},
		"exempted": {
			config: fenced + strings.Replace(exempt, "%DAY%", "2026-12-31", 1),
			object: passthrough, audit: map[string]string{"exempted": found},
		},
		"exempted, not for long": {
			config: fenced + strings.Replace(exempt, "%DAY%", "2026-07-01", 1),
			object: passthrough, warnings: ended("2026-07-01"), audit: map[string]string{"exempted": found},
		},
		"exempted until yesterday": {
			config: fenced + strings.Replace(exempt, "%DAY%", "2026-06-30", 1),
			object: passthrough, causes: causes, audit: map[string]string{"denied": found},
		},
		"update of what was so before": {
			object: strings.Replace(passthrough, "{port: {number: 1}}", "{port: {number: 3}}", 1), old: passthrough,
		},
		"update that adds one": {
			object: passthrough, old: strings.Replace(passthrough, "{number: 2}", "{number: 3}", 1),
			causes: causes[1:], audit: map[string]string{"denied": places[1]},
		},
		"update of an old object that cannot be read": {
			object: passthrough, old: "spec: {host: [reviews]}",
			causes: causes, audit: map[string]string{"denied": found},
		},
		"causes in field order": {
			object: entry,
			causes: []metav1.StatusCause{
				invalid("spec.hosts[2]", reviews, messages(t, fenced, entry)[0]),
				invalid("spec.hosts[10]", ratings, messages(t, fenced, entry)[1]),
			},
			audit: map[string]string{"denied": "serviceentry-fenced-host spec.hosts[2], serviceentry-fenced-host spec.hosts[10]"},
		},
		"unknown fence of a Namespace": {
			object: unknown,
			causes: []metav1.StatusCause{invalid("metadata.labels[meshfence.io/fence]", "tight", messages(t, fenced, unknown)[0])},
			audit:  map[string]string{"denied": "service-invalid-fence metadata.labels[meshfence.io/fence]"},
		},
		"unknown fence of a new Namespace": {
			object: "{apiVersion: v1, kind: Namespace, metadata: {name: new, labels: {meshfence.io/fence: tight, meshfence.io/enforcement: audit}}}",
			audit:  map[string]string{"audited": "service-invalid-fence metadata.labels[meshfence.io/fence]"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.config == "" {
				test.config = fenced
			}
			c := serve(t, test.config)
			if test.labels != nil {
				c.index.SetNamespace("shop", test.labels)
			}
			response := c.ask(t, admit.ValidatePath, request(t, test.object, test.old))
			if response.Allowed != (test.causes == nil) {
				t.Errorf("allowed = %t", response.Allowed)
			}
			assertCauses(t, response.Result, test.causes)
			if diff := cmp.Diff(test.warnings, response.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.audit, response.AuditAnnotations); diff != "" {
				t.Errorf("audit annotations (-want +got):\n%s", diff)
			}
			if asked := c.reader.asked(); len(asked) > 0 {
				t.Errorf("asked the API server for %v", asked)
			}
		})
	}
}

// TestValidateStanding: a Service that becomes strict is let in, with a warning of each object that exists in its
// way. What its Namespace or the config make of findings counts for them too.
func TestValidateStanding(t *testing.T) {
	t.Parallel()
	const rule = "destinationrule-passthrough DestinationRule default/it: spec.trafficPolicy.loadBalancer.simple"
	selecting := func(fence string) string {
		return strings.Replace(service("default", "web", fence), "spec: {", "spec: {selector: {app: web}, ", 1)
	}
	strict, loose := selecting("strict"), selecting("")
	tests := map[string]struct {
		config, object, old string
		warned              bool
		audit               map[string]string
	}{
		"becomes strict":   {object: strict, old: loose, warned: true, audit: map[string]string{"warned": rule}},
		"created strict":   {object: strict, warned: true, audit: map[string]string{"warned": rule}},
		"was strict":       {object: strict, old: strict},
		"is not strict":    {object: loose, old: strict},
		"only for the log": {config: "enforcement: audit\n", object: strict, audit: map[string]string{"audited": rule}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fenced+test.config)
			existing, err := object.Decode(object.KindDestinationRule, []byte(`{"metadata": {"namespace": "default", "name": "it"},
				"spec": {"host": "web", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}}, "subsets": [{"name": "meshfence-local", "labels": {"topology.istio.io/cluster": "m1c1"}}]}}`))
			if err != nil {
				t.Fatal(err)
			}
			c.index.SetObject(existing)
			response := c.ask(t, admit.ValidatePath, request(t, test.object, test.old))
			if !response.Allowed {
				t.Errorf("refused: %+v", response.Result)
			}
			_, place, _ := strings.Cut(rule, " ")
			for _, w := range response.Warnings {
				if !strings.HasPrefix(w, place+": must not be PASSTHROUGH: web.default.svc.cluster.local is strict") {
					t.Errorf("warning %q", w)
				}
			}
			if got := len(response.Warnings); got > 1 || (got == 1) != test.warned {
				t.Errorf("%d warnings", got)
			}
			if diff := cmp.Diff(test.audit, response.AuditAnnotations); diff != "" {
				t.Errorf("audit annotations (-want +got):\n%s", diff)
			}
		})
	}
}

// TestValidateNamespace: a Namespace whose label makes its Services strict is let in, with a warning of what is in the
// way, and one that is loosened under routes of another strict host is refused.
func TestValidateNamespace(t *testing.T) {
	t.Parallel()
	const rule = `{"metadata": {"namespace": "default", "name": "it"}, "spec": {"host": "web", "trafficPolicy": {"loadBalancer": {"simple": "PASSTHROUGH"}}}}`
	const routes = `{"metadata": {"namespace": "app", "name": "it"}, "spec": {"hosts": ["reviews.shop.svc.cluster.local"],
		"http": [{"route": [{"destination": {"host": "web.default.svc.cluster.local"}}]}]}}`
	named := func(labels string) string {
		return "{apiVersion: v1, kind: Namespace, metadata: {name: default" + labels + "}}"
	}
	strict, loose := named(", labels: {meshfence.io/fence: strict}"), named("")
	for name, test := range map[string]struct {
		kind, existing, object, old string
		want                        map[string]string
	}{
		"becomes strict": {object.KindDestinationRule, rule, strict, loose,
			map[string]string{"warned": "destinationrule-passthrough DestinationRule default/it: spec.trafficPolicy.loadBalancer.simple"}},
		"is strict": {object.KindDestinationRule, rule, strict, strict, nil},
		"is loosened": {object.KindVirtualService, routes, loose, strict,
			map[string]string{"denied": "namespace-loosened-destination metadata.labels[meshfence.io/fence]"}},
		"is loose": {object.KindVirtualService, routes, loose, loose, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fenced)
			existing, err := object.Decode(test.kind, []byte(test.existing))
			if err != nil {
				t.Fatal(err)
			}
			c.index.SetObject(existing)
			response := c.ask(t, admit.ValidatePath, request(t, test.object, test.old))
			if diff := cmp.Diff(test.want, response.AuditAnnotations); diff != "" {
				t.Errorf("audit annotations (-want +got):\n%s", diff)
			}
			if _, denied := test.want["denied"]; response.Allowed == denied {
				t.Errorf("allowed: %t", response.Allowed)
			}
		})
	}
}

// TestValidateAsksForPods: whether a Gateway chooses Pods of a Service with which it has no label in common, the API server
// says, once for a request, and only where that counts.
func TestValidateAsksForPods(t *testing.T) {
	t.Parallel()
	const gateway = "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: it, namespace: app}, spec: {selector: {istio: it}, servers: []}}"
	const routes = `{"metadata": {"namespace": "app", "name": "it"}, "spec": {"hosts": ["%s.shop.svc.cluster.local"],
		"http": [{"route": [{"destination": {"host": "cache.default.svc.cluster.local"}}]}]}}`
	asked := []string{"PodList default app=cache,istio=it"}
	for name, test := range map[string]struct {
		host    string
		labels  map[string]string
		err     error
		refused bool
		asked   []string
	}{
		"a Pod has both":            {"reviews", map[string]string{"app": "cache", "istio": "it", "a": "b"}, nil, true, asked},
		"no Pod has both":           {"reviews", map[string]string{"app": "cache"}, nil, false, asked},
		"no route of a strict host": {"unknown.shop.svc.elsewhere", map[string]string{"app": "cache", "istio": "it"}, nil, false, nil},
		"nobody can say":            {"reviews", nil, errors.New("away"), true, asked},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, fenced)
			existing, err := object.Decode(object.KindVirtualService, fmt.Appendf(nil, routes, test.host))
			if err != nil {
				t.Fatal(err)
			}
			c.index.SetObject(existing)
			c.index.SetNamespace("app", nil)
			c.index.SetServiceSpec(hostname.Host{Namespace: "default", Name: "cache"}, object.ServiceSpec{Selector: map[string]string{"app": "cache"}})
			c.reader.err = test.err
			c.reader.objects = []metav1.PartialObjectMetadata{{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: object.KindPod},
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "it", Labels: test.labels},
			}}
			response := c.ask(t, admit.ValidatePath, request(t, gateway, ""))
			if response.Allowed == test.refused {
				t.Errorf("allowed %t: %+v", response.Allowed, response.Result)
			}
			if diff := cmp.Diff(test.asked, c.reader.asked()); diff != "" {
				t.Errorf("the API server is asked for (-want +got):\n%s", diff)
			}
		})
	}
}

func TestValidateNamesTheObject(t *testing.T) {
	t.Parallel()
	response := serve(t, fenced).ask(t, admit.ValidatePath, request(t, passthrough, ""))
	got := response.Result
	if got.Code != http.StatusUnprocessableEntity || got.Reason != metav1.StatusReasonInvalid || got.Status != metav1.StatusFailure {
		t.Errorf("status = %+v", got)
	}
	if d := got.Details; d.Group != "networking.istio.io" || d.Kind != "DestinationRule" || d.Name != "reviews" {
		t.Errorf("details = %+v", d)
	}
	if want := `DestinationRule.networking.istio.io "reviews" is invalid: `; !strings.HasPrefix(got.Message, want) {
		t.Errorf("message = %q, want it to start with %q", got.Message, want)
	}
}

func TestValidateBoundsWarnings(t *testing.T) {
	t.Parallel()
	const hosts = 40
	names := make([]string, hosts)
	for i := range names {
		names[i] = "reviews.shop.svc.cluster.local"
	}
	elsewhere := "], endpoints: [" + strings.Repeat("{address: 192.0.2.7, network: other}, ", hosts) + "]}}"
	entry := strings.TrimSuffix(serviceEntry(names...), "]}}") + elsewhere
	response := serve(t, fenced+"enforcement: warn\n").ask(t, admit.ValidatePath, request(t, entry, ""))
	length := 0
	for _, w := range response.Warnings {
		length += len(w)
	}
	last := response.Warnings[len(response.Warnings)-1]
	if length > 4096 || len(response.Warnings) < 5 || !strings.HasPrefix(last, "meshfence has ") {
		t.Errorf("%d warnings of %d bytes, the last %q", len(response.Warnings), length, last)
	}
}

func assertCauses(t *testing.T, status *metav1.Status, want []metav1.StatusCause) {
	t.Helper()
	var got []metav1.StatusCause
	if status != nil && status.Details != nil {
		got = status.Details.Causes
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("causes (-want +got):\n%s", diff)
	}
}

func serviceEntry(hosts ...string) string {
	return "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: x, namespace: shop}, spec: {hosts: [" +
		strings.Join(hosts, ", ") + "]}}"
}

// TestTakenOut: what another webhook takes out again is warned of where another hold keeps the traffic in.
func TestTakenOut(t *testing.T) {
	t.Parallel()
	c := serve(t, strings.Replace(fenced, "[subset]", "[meshConfig, subset]", 1))
	for object, want := range map[string]bool{
		destinationRule("shop", "reviews", "reviews"): true,
		strings.ReplaceAll(injectedRule(ruleRecord), "\n  - {name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}", ""): false,
		strings.Replace(service("shop", "reviews", ""), "spec: {", "spec: {selector: {app: reviews}, ", 1):                           true,
		service("default", "web", ""): false,
	} {
		r := request(t, object, "")
		r.UserInfo.Username = "alice"
		response := c.ask(t, admit.ValidatePath, r)
		told := len(response.Warnings) == 1 && strings.HasSuffix(response.Warnings[0], "[injection-taken-out]")
		if !response.Allowed || told != want || !want && len(response.Warnings) > 0 {
			t.Errorf("allowed %t, warned of it %t, want %t: %q\n%s", response.Allowed, told, want, response.Warnings, object)
		}
	}
}
