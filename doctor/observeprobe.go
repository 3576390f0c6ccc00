package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
)

// probeName is the name of what dry runs would create.
const probeName = "meshfence-doctor"

// probe is a dry run that a webhook must change, refuse or warn of.
type probe struct {
	entry  string
	object client.Object
	// changed reports whether an answer has what the webhook adds.
	changed func(client.Object) bool
	// rule is in the warning or the refusal of the webhook.
	rule string
	// audited reports whether the findings are only audited, so that the answer does not show them.
	audited bool
}

// probesIn returns the dry runs in a namespace: a Service that is to be fenced, one with a fence that does not exist, and a
// ServiceEntry for a strict host. Where there is none it is for a host of no account, and what shows that the webhook was
// asked is only that it fails closed.
func probesIn(namespace string, index *policy.Index) []probe {
	service := func(fence string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: probeName, Annotations: map[string]string{policy.FenceKey: fence}},
			Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": probeName}, Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}
	}
	host, audits := probeName+".invalid", func(string) bool { return false }
	claimed := namespace
	if index != nil {
		view := index.View()
		audits = func(namespace string) bool { return view.Enforcement(namespace, false) == policy.Audit }
		if strict := index.Fenced("", policy.Strict); len(strict) > 0 {
			host, claimed = strict[0].FQDN(index.Config().ClusterDomain), strict[0].Namespace
		}
	}
	claim := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
		"metadata": map[string]any{"namespace": namespace, "name": probeName},
		"spec": map[string]any{
			"hosts": []any{host}, "resolution": "DNS",
			"ports": []any{map[string]any{"number": int64(80), "name": "http", "protocol": "HTTP"}},
		},
	}}
	fenced := func(o client.Object) bool { return o.GetLabels()[policy.FencedLabel] != "" }
	return []probe{
		{entry: "services.mutate.meshfence.io", object: service(policy.Strict.String()), changed: fenced},
		{entry: "services.validate.meshfence.io", object: service("doctor"), rule: "[service-invalid-fence]", audited: audits(namespace)},
		{entry: "istio.validate.meshfence.io", object: claim, rule: "[serviceentry-", audited: audits(claimed)},
	}
}

// probes creates objects in dry runs, which leave nothing.
func (o *Observer) probes(ctx context.Context, config *policy.Config, index *policy.Index) []Probe {
	namespace, err := o.probeNamespace(ctx, config)
	var seen []Probe
	for _, p := range probesIn(namespace, index) {
		if err != nil {
			seen = append(seen, Probe{Entry: p.entry, Reply: Foreign, Text: err.Error()})
			continue
		}
		seen = append(seen, o.probe(ctx, p))
	}
	return seen
}

func (o *Observer) probe(ctx context.Context, p probe) Probe {
	warnings := &cluster.Warnings{}
	config := rest.CopyConfig(o.Rest)
	config.WarningHandlerWithContext = warnings
	api, err := client.New(config, client.Options{Mapper: o.Client.RESTMapper(), Scheme: o.Client.Scheme()})
	if err != nil {
		return Probe{Entry: p.entry, Reply: Foreign, Text: err.Error()}
	}
	err = api.Create(ctx, p.object, client.DryRunAll)
	return p.judge(err, strings.Join(warnings.Take(), "\n"))
}

// judge says what the answer to a dry run means.
func (p probe) judge(err error, warned string) Probe {
	seen := Probe{Entry: p.entry, Audited: p.audited}
	switch {
	case err == nil && (p.changed != nil && p.changed(p.object) || p.rule != "" && strings.Contains(warned, p.rule)):
		seen.Reply = Answered
		return seen
	case err == nil:
		seen.Reply = Silent
		return seen
	}
	seen.Reply, seen.Text = Foreign, err.Error()
	switch {
	case strings.Contains(seen.Text, `.meshfence.io" denied the request`):
		seen.Reply = Answered
	case admit.Uncalled(seen.Text):
		seen.Reply = Unreachable
	}
	return seen
}

// probeNamespace chooses a namespace in which the webhooks are called and Services may be fenced.
func (o *Observer) probeNamespace(ctx context.Context, config *policy.Config) (string, error) {
	if o.ProbeNamespace != "" {
		return o.ProbeNamespace, nil
	}
	var list corev1.NamespaceList
	if err := o.Client.List(ctx, &list); err != nil {
		return "", fmt.Errorf("list Namespaces: %w", err)
	}
	names := []string{metav1.NamespaceDefault}
	for _, n := range list.Items {
		if n.Status.Phase == corev1.NamespaceActive {
			names = append(names, n.Name)
		}
	}
	for _, n := range names {
		if n != o.Namespace && n != metav1.NamespaceSystem && (config == nil || !isExempt(config, n)) {
			return n, nil
		}
	}
	return "", errors.New("every namespace is exempt: name one with --probe-namespace")
}

func isExempt(config *policy.Config, namespace string) bool {
	return config.Namespace(namespace, nil).Service(probeName, nil).Exempt
}
