package admit_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/fixtures"
)

// conditionsOf returns the CEL conditions of a route by what they are about: the two paths, deletions, and changes of
// the status.
func conditionsOf(r admit.Kind) map[string]string {
	return map[string]string{"mutate": r.MutateIf, "validate": r.ValidateIf, "delete": r.DeleteIf, "status": r.StatusIf}
}

// compile returns the matcher that the oldest supported API server makes of a condition.
func compile(t *testing.T, expression string) matchconditions.Matcher {
	t.Helper()
	compiler := cel.NewConditionCompiler(environment.MustBaseEnvSet(version.MajorMinor(1, 30)))
	condition := &matchconditions.MatchCondition{Name: "it", Expression: expression}
	compiled := compiler.CompileCondition([]cel.ExpressionAccessor{condition}, cel.OptionalVariableDeclarations{HasAuthorizer: true}, environment.NewExpressions)
	for _, err := range compiled.CompilationErrors() {
		t.Errorf("%s: %v", expression, err)
	}
	return matchconditions.NewMatcher(compiled, nil, "webhook", "test", "test") // a failure fails the request
}

// TestConditions: every condition compiles, and lets through what must reach admission and nothing else.
func TestConditions(t *testing.T) {
	t.Parallel()
	type question struct {
		kind, about string
	}
	type request struct {
		question

		writer, object string
		want           bool
	}
	pods, endpoints, slices := question{object.KindPod, "validate"}, question{object.KindEndpoints, "validate"}, question{object.KindEndpointSlice, "validate"}
	mutated, validated := question{object.KindConfigMap, "mutate"}, question{object.KindConfigMap, "validate"}
	rules, routes := question{object.KindDestinationRule, "delete"}, question{object.KindVirtualService, "delete"}
	sidecars := question{object.KindSidecar, "delete"}
	meshDeleted := question{object.KindConfigMap, "delete"}
	services, statuses := question{object.KindService, "delete"}, question{object.KindService, "status"}
	podStatuses, namespaces, entries := question{object.KindPod, "status"}, question{object.KindNamespace, "status"}, question{object.KindServiceEntry, "status"}
	bindings := question{object.KindBinding, "validate"}
	const multiNetworkPod = "{metadata: {name: it, labels: {topology.istio.io/network: n2}}"
	const gateway = "{metadata: {name: it, labels: {topology.istio.io/network: n1}}"
	const companion = "metadata: {name: it, labels: {app.kubernetes.io/managed-by: meshfence}}"
	requests := map[string]request{
		"a Pod without labels":               {pods, "", "metadata: {name: it}", false},
		"a Pod with another label":           {pods, "", "metadata: {name: it, labels: {app: network}}", false},
		"a Pod with a network":               {pods, "", "metadata: {name: it, labels: {app: a, topology.istio.io/network: n2}}", true},
		"a Pod with an empty locality":       {pods, "", "metadata: {name: it, labels: {topology.istio.io/locality: ''}}", true},
		"a Pod with a locality, short":       {pods, "", "metadata: {name: it, labels: {istio-locality: r1.z1}}", true},
		"Endpoints by their controller":      {endpoints, "system:serviceaccount:kube-system:endpoint-controller", "metadata: {name: it}", false},
		"Endpoints by a user":                {endpoints, "alice", "metadata: {name: it}", true},
		"a slice by its controller":          {slices, "system:serviceaccount:kube-system:endpointslice-controller", "metadata: {name: it}", false},
		"a slice by one that is named like":  {slices, "system:serviceaccount:shop:endpointslice-controller", "metadata: {name: it}", true},
		"a mesh config":                      {mutated, "", "{metadata: {name: istio}, data: {mesh: ''}}", true},
		"other data":                         {mutated, "", "{metadata: {name: istio}, data: {meshNetworks: ''}}", false},
		"no data":                            {mutated, "", "metadata: {name: meshfence}", false},
		"a FenceConfig":                      {validated, "", "metadata: {name: meshfence}", true},
		"a mesh config, to validate":         {validated, "", "{metadata: {name: istio-canary}, data: {mesh: ''}}", true},
		"an ordinary ConfigMap":              {validated, "", "{metadata: {name: it}, data: {a: b}}", false},
		"a ConfigMap without data":           {validated, "", "metadata: {name: it}", false},
		"a companion rule":                   {rules, "", companion, true},
		"a user's rule":                      {rules, "", "metadata: {name: it}", false},
		"a rule of another manager":          {rules, "", "metadata: {name: it, labels: {app.kubernetes.io/managed-by: helm}}", false},
		"companion routes":                   {routes, "", companion, true},
		"a user's routes":                    {routes, "", "metadata: {name: it, labels: {app: a}}", false},
		"a Pod whose container claims one":   {pods, "", `metadata: {name: it, annotations: {proxy.istio.io/overrides: '{"containers": [{"env": [{"name": "ISTIO_META_CLUSTER_ID"}]}]}'}}`, true},
		"a Pod that asks another istiod":     {pods, "", `metadata: {name: it, annotations: {proxy.istio.io/config: "discoveryAddress: a.example.com:15012"}}`, true},
		"a Pod with more memory for a proxy": {pods, "", `metadata: {name: it, annotations: {proxy.istio.io/overrides: '{"containers": [{"resources": {"limits": {"memory": "1Gi"}}}]}'}}`, false},
		"a Pod that claims a cluster":        {pods, "", `metadata: {name: it, annotations: {proxy.istio.io/config: "proxyMetadata: {ISTIO_META_CLUSTER_ID: m1c2}"}}`, true},
		"a Pod that may hide a claim":        {pods, "", `metadata: {name: it, annotations: {proxy.istio.io/config: 'proxyMetadata: {"ISTIO\u005fMETA": a}'}}`, true},
		"a Pod that tags a claim":            {pods, "", `metadata: {name: it, annotations: {proxy.istio.io/config: 'proxyMetadata: {!!binary SVNU: a}'}}`, true},
		"a Pod with another proxy config":    {pods, "", `metadata: {name: it, annotations: {proxy.istio.io/config: "holdApplicationUntilProxyStarts: true"}}`, false},
		"a Sidecar":                          {sidecars, "", "{metadata: {name: it}, spec: {egress: [{hosts: ['*/*']}]}}", true},
		"a Sidecar with a selector":          {sidecars, "", "{metadata: {name: it}, spec: {workloadSelector: {labels: {app: a}}}}", false},
		"a strict Service":                   {services, "", "metadata: {name: it, labels: {meshfence.io/fenced: strict}}", true},
		"a Service that is preferred":        {services, "", "metadata: {name: it, labels: {meshfence.io/fenced: prefer}}", false},
		"a Service that asks for no fence":   {services, "", "metadata: {name: it, annotations: {meshfence.io/fence: none}}", true},
		"a Service that asks for less":       {services, "", "metadata: {name: it, labels: {meshfence.io/fenced: prefer}, annotations: {meshfence.io/fence: prefer}}", true},
		"a Service without labels":           {services, "", "metadata: {name: it}", false},
		"a Pod gets ready":                   {podStatuses, "", multiNetworkPod + `, status: {phase: Running}}` + became + multiNetworkPod + `, status: {phase: Running, podIP: 10.1.0.1}}`, false},
		"a Pod changes its network":          {podStatuses, "", "metadata: {name: it}" + became + multiNetworkPod + "}", true},
		"a Pod joins with its network":       {podStatuses, "", multiNetworkPod + "}" + became + `{metadata: {name: it, labels: {topology.istio.io/network: n2, app: a}}}`, true},
		"a Pod gets another label":           {podStatuses, "", "metadata: {name: it}" + became + "metadata: {name: it, labels: {app: a}}", false},
		"a load balancer":                    {statuses, "", "metadata: {name: it, labels: {app: a}}" + became + "{metadata: {name: it, labels: {app: a}}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}}", false},
		"a load balancer of a network":       {statuses, "", gateway + "}" + became + gateway + ", status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}}", true},
		"a condition of a network":           {statuses, "", gateway + ", status: {loadBalancer: {}}}" + became + gateway + ", status: {loadBalancer: {}, conditions: [{type: a}]}}", false},
		"a Service gets a network":           {statuses, "", "metadata: {name: it}" + became + gateway + "}", true},
		"a Service gets another label":       {statuses, "", "metadata: {name: it}" + became + "metadata: {name: it, labels: {app: a}}", false},
		"a Service loses its fence":          {statuses, "", "metadata: {name: it, annotations: {meshfence.io/fence: strict}}" + became + "metadata: {name: it}", true},
		"a Service gets a finalizer":         {statuses, "", "metadata: {name: it}" + became + "metadata: {name: it, finalizers: [a/b]}", false},
		"a Namespace gets a label":           {namespaces, "", "metadata: {name: it}" + became + "metadata: {name: it, labels: {a: b}}", true},
		"a Namespace ends":                   {namespaces, "", "metadata: {name: it, labels: {a: b}}" + became + "{metadata: {name: it, labels: {a: b}}, status: {phase: Terminating, conditions: [{type: a}]}}", false},
		"istiod allocates":                   {entries, "", "metadata: {name: it}" + became + `{metadata: {name: it}, status: {addresses: [{value: 240.240.0.7}, {value: "2001:2::7", host: a}]}}`, false},
		"somebody allocates":                 {entries, "", "metadata: {name: it}" + became + `{metadata: {name: it}, status: {addresses: [{value: 240.240.0.7}, {value: 10.0.0.1}]}}`, true},
		"a condition of a ServiceEntry":      {entries, "", `{metadata: {name: it}, status: {addresses: [{value: 10.0.0.1}]}}` + became + `{metadata: {name: it}, status: {addresses: [{value: 10.0.0.1}], conditions: [{type: a}]}}`, false},
		"an address goes":                    {entries, "", `{metadata: {name: it}, status: {addresses: [{value: 10.0.0.1}]}}` + became + `{metadata: {name: it}, status: {}}`, false},
		"a scheduler's Binding":              {bindings, "", "{metadata: {name: it, annotations: {a: b}}, target: {kind: Node, name: n1}}", false},
		"a Binding with the Node's place":    {bindings, "", "{metadata: {name: it, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: z1}}, target: {kind: Node, name: n1}}", false},
		"a Binding with a network":           {bindings, "", multiNetworkPod + ", target: {kind: Node, name: n1}}", true},
		"a Binding with another label":       {bindings, "", "{metadata: {name: it, labels: {app: a}}, target: {kind: Node, name: n1}}", true},
		"a Binding that claims a cluster":    {bindings, "", `metadata: {name: it, annotations: {proxy.istio.io/config: "proxyMetadata: {ISTIO_META_CLUSTER_ID: m1c2}"}}`, true},
		"a mesh config that goes":            {meshDeleted, "", "{metadata: {name: istio}, data: {mesh: ''}}", true},
		"another ConfigMap that goes":        {meshDeleted, "", "{metadata: {name: it}, data: {a: b}}", false},
		"a ConfigMap without data that goes": {meshDeleted, "", "metadata: {name: it}", false},
		"a ConfigMap that goes, empty":       {meshDeleted, "", "metadata: {name: it}", false},
	}
	answers := map[question]map[bool]bool{}
	for name, r := range requests {
		if answers[r.question] == nil {
			answers[r.question] = map[bool]bool{}
		}
		answers[r.question][r.want] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, route := range admit.Kinds() {
				if route.Kind != r.kind {
					continue
				}
				result := compile(t, conditionsOf(route)[r.about]).Match(t.Context(), attributes(t, route, r.about, r.writer, r.object), nil, nil)
				if result.Error != nil || result.Matches != r.want {
					t.Errorf("matches = %t (%v), want %t", result.Matches, result.Error, r.want)
				}
			}
		})
	}
	for _, route := range admit.Kinds() {
		for about, expression := range conditionsOf(route) {
			got := answers[question{route.Kind, about}]
			if (expression != "") != (got != nil) || got != nil && len(got) < 2 {
				t.Errorf("%s, %s: must be asked with both answers where there is a condition: %q", route.Kind, about, expression)
			}
		}
	}
}

// became separates the old object of a request from the new one.
const became = "\n---\n"

// attributes returns a request as the API server asks its conditions about it.
func attributes(t *testing.T, r admit.Kind, about, writer, objects string) *admission.VersionedAttributes {
	t.Helper()
	kind := schema.GroupVersionKind{Group: r.Group, Version: r.Versions[0], Kind: r.Kind}
	resource := kind.GroupVersion().WithResource(r.Resource)
	who := &user.DefaultInfo{Name: writer}
	before, after, update := strings.Cut(objects, became)
	o, subresource := fixtures.Unstructured(t, kind, before), ""
	if about == "status" {
		subresource = about
	}
	written := admission.NewAttributesRecord(o, nil, kind, "shop", o.GetName(), resource, subresource, admission.Create, nil, false, who)
	switch {
	case about == "delete":
		written = admission.NewAttributesRecord(nil, o, kind, "shop", o.GetName(), resource, subresource, admission.Delete, nil, false, who)
	case update:
		written = admission.NewAttributesRecord(fixtures.Unstructured(t, kind, after), o, kind, "shop", o.GetName(), resource, subresource, admission.Update, nil, false, who)
	}
	versioned, err := admission.NewVersionedAttributes(written, kind, nil)
	if err != nil {
		t.Fatal(err)
	}
	return versioned
}
