package inject_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
)

var reviews = hostname.Host{Namespace: "shop", Name: "reviews"}

// TestCompanions builds the companions of the Service of every case in testdata/companion.txtar, compares them with those
// that the case has, and has admission and Istio's types take them as they are.
func TestCompanions(t *testing.T) {
	t.Parallel()
	archive, err := txtar.ParseFile("testdata/companion.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(archive.Files); i += 2 {
		asked, want := archive.Files[i], &archive.Files[i+1]
		if want.Name != companionsSection {
			t.Fatalf("%s: must be followed by a section %q", asked.Name, companionsSection)
		}
		t.Run(asked.Name, func(t *testing.T) {
			index, speaks := companionCase(t, asked.Data)
			companions := inject.CompanionsOf(reviews, speaks, index.View())
			var text strings.Builder
			guard := leak.NewGuard(leak.Rules())
			for _, c := range []struct {
				kind string
				*inject.Companion
			}{{object.KindDestinationRule, companions.Rule}, {object.KindVirtualService, companions.Route}} {
				if c.Companion == nil {
					continue
				}
				obj, err := json.Marshal(map[string]any{
					"apiVersion": "networking.istio.io/v1",
					"kind":       c.kind,
					"metadata": map[string]any{
						"name": inject.CompanionName(reviews.Name), "namespace": reviews.Namespace, "annotations": c.Annotations,
					},
					"spec": c.Spec,
				})
				if err != nil {
					t.Fatal(err)
				}
				written, err := yaml.JSONToYAML(obj)
				if err != nil {
					t.Fatal(err)
				}
				text.WriteString("---\n" + string(written))
				understood(t, c.kind, obj)
				if plan := planFor(t, c.kind, obj, index); len(plan.Edits)+len(plan.Gaps) > 0 {
					t.Errorf("admission must change nothing in the %s, got:\n%s", c.kind, describe(t, plan))
				}
				decoded, err := object.Decode(c.kind, obj)
				if err != nil {
					t.Fatal(err)
				}
				for _, finding := range guard.Judge(leak.Write{Object: decoded, Own: true}, index.View()) {
					t.Errorf("the guard must take the %s, got %s: %s", c.kind, finding.Field(), finding.Message())
				}
				if own := inject.OwnAnnotations(); !contains(own, slices.Collect(maps.Keys(c.Annotations))) {
					t.Errorf("annotations of the %s: %v are not among %v", c.kind, c.Annotations, own)
				}
			}
			if *update {
				want.Data = []byte(text.String())
			}
			if diff := cmp.Diff(strings.TrimSpace(string(want.Data)), strings.TrimSpace(text.String())); diff != "" {
				t.Errorf("companions (-want +got):\n%s", diff)
			}
		})
	}
	if *update {
		write(t, "companion", archive)
	}
}

// companionCase reads a case: a FenceConfig, what exists, and the Service, of which it returns what its ports carry.
func companionCase(t *testing.T, data []byte) (*policy.Index, policy.Speech) {
	t.Helper()
	documents, err := suite.Documents(data)
	if err != nil {
		t.Fatal(err)
	}
	config, err := policy.ParseConfig(policy.Source{File: "config"}, documents[0].JSON)
	if err != nil {
		t.Fatal(err)
	}
	service, err := object.Decode(object.KindService, documents[len(documents)-1].JSON)
	if err != nil {
		t.Fatal(err)
	}
	index, err := suite.Index(config, documents[1:])
	if err != nil {
		t.Fatal(err)
	}
	return index, policy.SpeechOf(service.Service.Ports)
}

func contains(all, some []string) bool {
	return !slices.ContainsFunc(some, func(s string) bool { return !slices.Contains(all, s) })
}

// TestCompanionRouteTakesTLS says for which ports the names that clients may ask for matter.
func TestCompanionRouteTakesTLS(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		port object.ServicePort
		want bool
	}{
		"http":                    {object.ServicePort{Name: "http"}, false},
		"no name":                 {object.ServicePort{}, false},
		"tcp":                     {object.ServicePort{Name: "tcp-tls"}, false},
		"grpc":                    {object.ServicePort{Name: "grpc-web-tls"}, false},
		"https":                   {object.ServicePort{Name: "https"}, true},
		"https with more":         {object.ServicePort{Name: "https-web"}, true},
		"https as a prefix":       {object.ServicePort{Name: "httpsweb"}, false},
		"tls":                     {object.ServicePort{Name: "tls-db"}, true},
		"upper case":              {object.ServicePort{AppProtocol: new("HTTPS")}, true},
		"appProtocol beats name":  {object.ServicePort{Name: "https", AppProtocol: new("http")}, false},
		"appProtocol":             {object.ServicePort{Name: "web", AppProtocol: new("tls")}, true},
		"empty appProtocol":       {object.ServicePort{Name: "https", AppProtocol: new("")}, false},
		"WebSocket over TLS":      {object.ServicePort{AppProtocol: new("kubernetes.io/wss")}, true},
		"WebSocket":               {object.ServicePort{AppProtocol: new("kubernetes.io/ws")}, false},
		"QUIC":                    {object.ServicePort{Name: "https", Protocol: "UDP"}, false},
		"TCP, as the API server":  {object.ServicePort{Name: "https", Protocol: "TCP"}, true},
		"an unknown app protocol": {object.ServicePort{AppProtocol: new("example.com/tls")}, false},
	}
	config := parse(t, "controlPlane: {clusters: [m1c1]}\nholds: [subset]\nscope: {default: strict}\n")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ports := []object.ServicePort{{Name: "http"}, test.port}
			c := inject.CompanionsOf(reviews, policy.SpeechOf(ports), policy.NewIndex(config).View())
			hosts, ok := c.Route.Spec["hosts"].([]any)
			if !ok {
				t.Fatalf("hosts are %v", c.Route.Spec["hosts"])
			}
			if got := slices.Contains(hosts, any("reviews")); got != test.want {
				t.Errorf("hosts %v: want short names to be %v", hosts, test.want)
			}
		})
	}
}

// TestCompanionBeside: beside users' routes a companion keeps the protocols that these have none for and a port may speak.
func TestCompanionBeside(t *testing.T) {
	t.Parallel()
	web, db, auto := object.ServicePort{Name: "http"}, object.ServicePort{Name: "tcp-db"}, object.ServicePort{Name: "it"}
	tests := map[string]struct {
		ports       []object.ServicePort
		taken, want []string
	}{
		"a port of HTTP":               {[]object.ServicePort{web}, []string{"http"}, nil},
		"a port of HTTP, routes of it": {[]object.ServicePort{web}, []string{"tcp"}, []string{"http"}},
		"a TCP port beside":            {[]object.ServicePort{web, db}, []string{"http"}, []string{"tcp", "tls"}},
		"a TCP port, with routes":      {[]object.ServicePort{web, db}, []string{"tcp", "http"}, []string{"tls"}},
		"everything has routes":        {[]object.ServicePort{web, db}, []string{"tls", "http", "tcp"}, nil},
		"a TCP port alone":             {[]object.ServicePort{db}, []string{"http"}, []string{"tcp", "tls"}},
		"a port of any protocol":       {[]object.ServicePort{auto}, []string{"tcp"}, []string{"http", "tls"}},
		"ports that nobody knows":      {nil, []string{"http"}, []string{"tcp", "tls"}},
	}
	config := parse(t, "controlPlane: {clusters: [m1c1]}\nholds: [subset]\nscope: {default: strict}\n")
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole := inject.CompanionsOf(reviews, policy.SpeechOf(test.ports), policy.NewIndex(config).View()).Route
			rest := whole.Beside(test.taken, policy.SpeechOf(test.ports))
			if rest == nil {
				if test.want != nil {
					t.Errorf("nothing is left, want %v", test.want)
				}
				return
			}
			var got []string
			for _, section := range []string{"http", "tcp", "tls"} {
				if routes, ok := rest.Spec[section]; ok {
					got = append(got, section)
					if diff := cmp.Diff(whole.Spec[section], routes); diff != "" {
						t.Errorf("%s (-want +got):\n%s", section, diff)
					}
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("sections (-want +got):\n%s", diff)
			}
			if len(whole.Spec) != 5 {
				t.Errorf("the whole companion has changed: %v", whole.Spec)
			}
		})
	}
}

// TestOwnSections: a section counts for a user's where one of its routes is not what admission appended.
func TestOwnSections(t *testing.T) {
	t.Parallel()
	const (
		added  = `{"route": [{"destination": {"host": "reviews.shop.svc.cluster.local", "subset": "meshfence-local"}}]}`
		record = `"annotations": {"meshfence.io/injected": "{\"routes\":{\"tcp\":[{\"route\":[{\"destination\":{\"host\":\"reviews.shop.svc.cluster.local\",\"subset\":\"meshfence-local\"}}]}]}}"}`
	)
	tests := map[string]struct {
		metadata, spec string
		want           []string
	}{
		"nothing":          {``, ``, nil},
		"two":              {``, `"http": [{}], "tls": [{}]`, []string{"http", "tls"}},
		"as it is added":   {``, `"http": [{}], "tcp": [` + added + `]`, []string{"http", "tcp"}},
		"added":            {record, `"http": [{}], "tcp": [` + added + `]`, []string{"http"}},
		"added beside own": {record, `"tcp": [{}, ` + added + `]`, []string{"tcp"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, err := object.Decode(object.KindVirtualService, []byte(`{"metadata": {`+test.metadata+`}, "spec": {`+test.spec+`}}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, inject.OwnSections(o)); diff != "" {
				t.Errorf("sections (-want +got):\n%s", diff)
			}
		})
	}
}

// TestCompanionRuleStays says when the rule of a Service must stay as it is.
func TestCompanionRuleStays(t *testing.T) {
	t.Parallel()
	for fence, want := range map[string]bool{"strict": true, "prefer": false, "none": false} {
		config := parse(t, "controlPlane: {clusters: [m1c1]}\nholds: [locality]\nscope: {default: "+fence+"}\n")
		c := inject.CompanionsOf(reviews, policy.Speech{}, policy.NewIndex(config).View())
		if c.RuleStays != want || want && c.Rule != nil {
			t.Errorf("%s: rule stays: %t, want %t; rule %+v", fence, c.RuleStays, want, c.Rule)
		}
		known := config.WithShares(policy.Shares{"r1/*": 100})
		c = inject.CompanionsOf(reviews, policy.Speech{}, policy.NewIndex(known).View())
		if c.RuleStays || (c.Rule != nil) != (fence != "none") {
			t.Errorf("%s, with localities: rule stays: %t; rule %+v", fence, c.RuleStays, c.Rule)
		}
	}
}

func TestCompanionName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		inject.CompanionName("reviews"): "reviews",
		"a-meshfence-meshfence":         "a-meshfence",
		"reviews":                       "",
		"-meshfence":                    "",
	} {
		if got, ok := inject.CompanionOf(name); got != want || ok != (want != "") {
			t.Errorf("CompanionOf(%q): want %q, got %q, %v", name, want, got, ok)
		}
	}
}

// TestHasReserved tells a rule to which routes may lead from one where they find no endpoint.
func TestHasReserved(t *testing.T) {
	t.Parallel()
	config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+
		"controlPlane: {clusters: [m1c1]}\nholds: [subset]\n"))
	if err != nil {
		t.Fatal(err)
	}
	subset := func(name string, labels map[string]string) object.RuleSubset {
		return object.RuleSubset{Name: name, Labels: labels}
	}
	here := map[string]string{policy.ClusterLabel: "m1c1"}
	for name, test := range map[string]struct {
		subsets []object.RuleSubset
		want    bool
	}{
		"no subsets":              {},
		"a user's":                {subsets: []object.RuleSubset{subset("v1", here)}},
		"the reserved one":        {subsets: []object.RuleSubset{subset("v1", here), subset(policy.ReservedSubset, here)}, want: true},
		"of another cluster":      {subsets: []object.RuleSubset{subset(policy.ReservedSubset, map[string]string{policy.ClusterLabel: "m1c2"})}},
		"of no cluster":           {subsets: []object.RuleSubset{subset(policy.ReservedSubset, nil)}},
		"another reserved subset": {subsets: []object.RuleSubset{subset("meshfence-m1c1", here)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := inject.HasReserved(&object.DestinationRule{Subsets: test.subsets}, config); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
