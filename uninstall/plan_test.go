package uninstall_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
	"github.com/meshfence/meshfence/uninstall"
)

// The objects of the table. Those of shop are as admission has left them.
const (
	fencedService = `{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop, labels: {app: reviews, meshfence.io/fenced: strict},
  annotations: {meshfence.io/fence: strict, meshfence.io/fenced-by: service annotation}}}`
	exemptService   = `{apiVersion: v1, kind: Service, metadata: {name: kubernetes, namespace: default, labels: {meshfence.io/fenced: none}}}`
	fencedNamespace = `{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {meshfence.io/fence: strict, meshfence.io/enforcement: warn}}}`
	labelledRule    = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews, namespace: shop,
  annotations: {meshfence.io/injected: '{"labels":{"v1":"m1c1"}}'}},
  spec: {host: reviews, subsets: [{name: v1, labels: {version: v1, topology.istio.io/cluster: m1c1}},
    {name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]}}`
	ownRule      = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: own, namespace: shop}, spec: {host: own, subsets: [{name: v1, labels: {topology.istio.io/cluster: m1c1}}]}}`
	severalRule  = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: several, namespace: shop}, spec: {host: several, subsets: [{name: meshfence-m1c2, labels: {topology.istio.io/cluster: m1c2}}]}}`
	severalRoute = `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: to-several, namespace: web}, spec: {hosts: [a.b], http: [{route: [{destination: {host: several.shop.svc.cluster.local, subset: meshfence-m1c2}}]}]}}`
	ledRoute     = `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: reviews, namespace: shop}, spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: meshfence-local}}]}]}}`
	companion    = `{apiVersion: networking.istio.io/v1, kind: %s, metadata: {name: ratings-meshfence, namespace: shop, labels: {app.kubernetes.io/managed-by: meshfence}%s}, spec: {host: ratings, hosts: [ratings]}}`
	replaced     = `, ownerReferences: [{apiVersion: v1, kind: Service, name: ratings, uid: "1"}], annotations: {meshfence.io/replaced: '{"host":"other"}', mine: stays, galley.istio.io/analyze-suppress: IST0173}`
	userNamed    = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: plain-meshfence, namespace: shop}, spec: {host: plain}}`
	meshText     = "trustDomain: here\nserviceSettings:\n- settings:\n    clusterLocal: true\n  hosts:\n  - \"reviews.shop.svc.cluster.local\"\n"
	brokenText   = "a: b\n---\na: b\n"
)

func meshMap(t *testing.T, text string, annotations map[string]string, managers ...string) string {
	t.Helper()
	m := corev1.ConfigMap{Data: map[string]string{"mesh": text}}
	m.APIVersion, m.Kind, m.Namespace, m.Name, m.Annotations = "v1", "ConfigMap", "istio-system", "istio", annotations
	for _, manager := range managers {
		m.ManagedFields = append(m.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager})
	}
	data, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestPlan(t *testing.T) {
	t.Parallel()
	ours := map[string]string{"meshfence.io/cluster-local-hosts": `{"true":["reviews.shop.svc.cluster.local"],"created":true}`}
	for name, test := range map[string]struct {
		objects       []string
		changes, left []string
		asking        int
	}{
		"nothing": {},
		"objects of users": {objects: []string{ownRule, userNamed, meshMap(t, "trustDomain: here\n", nil),
			`{apiVersion: v1, kind: Service, metadata: {name: any, namespace: shop}}`}},
		"a fenced Service, which goes on asking": {objects: []string{fencedService, fencedNamespace}, asking: 2, changes: []string{
			"Service shop/reviews: remove metadata.labels[meshfence.io/fenced], remove metadata.annotations[meshfence.io/fenced-by]"}},
		"the Service of the API server": {objects: []string{exemptService}},
		"routes before subsets, whatever comes first": {objects: []string{fencedService, meshMap(t, meshText, ours), labelledRule, ledRoute}, asking: 1, changes: []string{
			"VirtualService shop/reviews: remove spec.http[0].route[0].destination.subset",
			"DestinationRule shop/reviews: remove spec.subsets[0].labels[topology.istio.io/cluster], remove spec.subsets[1], remove metadata.annotations[meshfence.io/injected]",
			"ConfigMap istio-system/istio: take 5 lines with clusterLocal entries out of data.mesh",
			"Service shop/reviews: remove metadata.labels[meshfence.io/fenced], remove metadata.annotations[meshfence.io/fenced-by]"}},
		"companions": {objects: []string{with(companion, "DestinationRule", ""), with(companion, "VirtualService", "")}, changes: []string{
			"VirtualService shop/ratings-meshfence: delete it, which is a companion",
			"DestinationRule shop/ratings-meshfence: delete it, which is a companion"}},
		"an object that was made a companion": {objects: []string{with(companion, "DestinationRule", replaced)}, changes: []string{
			"DestinationRule shop/ratings-meshfence: give it back what it held before it was made a companion"}},
		"a subset that a user's route names": {objects: []string{severalRule, severalRoute}, left: []string{
			"DestinationRule shop/several: keeps a subset of meshfence, because VirtualService web/to-several leads to it: change its routes, and run this again"}},
		"a subset of several clusters that nobody names": {objects: []string{severalRule}, changes: []string{
			"DestinationRule shop/several: remove spec.subsets[0]"}},
		"a mesh config that cannot be edited": {objects: []string{meshMap(t, brokenText, ours)}, left: []string{
			"mesh ConfigMap istio-system/istio: mesh config line 2: must be one YAML document: its clusterLocal entries of meshfence must be taken out by hand"}},
		"a mesh config that is as it was, but for an owner": {objects: []string{meshMap(t, "a: b\n", nil, "helm", "meshfence")}, changes: []string{
			"ConfigMap istio-system/istio: give up the ownership of its fields"}},
		"a ConfigMap of nobody else": {objects: []string{meshMap(t, "a: b\n", nil, "meshfence")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := uninstall.NewPlanner("cluster.local")
			for _, text := range test.objects {
				if err := p.Add(decode(t, text)); err != nil {
					t.Fatal(err)
				}
			}
			plan := p.Plan()
			var changes []string
			for _, c := range plan.Changes {
				changes = append(changes, c.String())
			}
			if diff := cmp.Diff(test.changes, changes); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.left, plan.Left); diff != "" {
				t.Errorf("left (-want +got):\n%s", diff)
			}
			if plan.Asking != test.asking {
				t.Errorf("%d ask, want %d", plan.Asking, test.asking)
			}
		})
	}
}

// An object that had the name of a companion gets back what it held, and keeps what its owner has written since.
func TestRestored(t *testing.T) {
	t.Parallel()
	stored := decode(t, with(companion, "DestinationRule", replaced))
	want := decode(t, `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: ratings-meshfence, namespace: shop, annotations: {mine: stays}}, spec: {host: other}}`)
	if diff := cmp.Diff(want, takenBack(t, stored)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What admission makes of the cases of package inject is taken back to the byte, whatever the holds were.
func TestTakenBack(t *testing.T) {
	t.Parallel()
	cases, err := suite.Load(os.DirFS("../policy/inject/testdata/stored"))
	if err != nil {
		t.Fatal(err)
	}
	taken := 0
	for _, c := range cases {
		own := strings.ReplaceAll(string(c.Object.JSON), `"meshfence.io/fence"`, "")
		if strings.Contains(own, "meshfence") || strings.Contains(own, "[null") {
			continue // an admission has been there before, or no API server would store it
		}
		index, err := c.Index()
		if err != nil {
			t.Fatal(err)
		}
		edits, err := admit.Mutate(admit.Request{Kind: c.Object.Kind, Namespace: c.Object.Namespace, Raw: c.Object.JSON}, index.View())
		if err != nil {
			t.Fatal(err)
		}
		if len(edits) == 0 {
			continue
		}
		taken++
		fenced, err := admit.Apply(c.Object.JSON, edits)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(decode(t, string(c.Object.JSON)), takenBack(t, decode(t, string(fenced)))); diff != "" {
			t.Errorf("%s:%d (-before +after):\n%s", c.File, c.Line, diff)
		}
	}
	if taken == 0 {
		t.Error("no case has an edit")
	}
}

// takenBack returns an object after the one change that is planned for it.
func takenBack(t *testing.T, o client.Object) client.Object {
	t.Helper()
	p := uninstall.NewPlanner("cluster.local")
	if err := p.Add(o); err != nil {
		t.Fatal(err)
	}
	plan := p.Plan()
	if len(plan.Changes) != 1 || len(plan.Left) != 0 {
		t.Fatalf("%d changes, left %q", len(plan.Changes), plan.Left)
	}
	return edited(t, o, plan.Changes[0].Edits())
}

func edited(t *testing.T, o client.Object, edits []inject.Edit) client.Object {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	if data, err = admit.Apply(data, edits); err != nil {
		t.Fatal(err)
	}
	return decode(t, string(data))
}

func with(text, kind, metadata string) string {
	return strings.Replace(strings.Replace(text, "%s", kind, 1), "%s", metadata, 1)
}

// decode returns an object as the observation gives it.
func decode(t *testing.T, text string) client.Object {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	var o client.Object = u
	switch u.GetKind() {
	case object.KindConfigMap:
		o = &corev1.ConfigMap{}
	case object.KindService, object.KindNamespace:
		o = &metav1.PartialObjectMetadata{}
	}
	if o == client.Object(u) {
		return u
	}
	if err := yaml.Unmarshal([]byte(text), o); err != nil {
		t.Fatal(err)
	}
	return o
}
