package doctor

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

const applyAgain = "meshfence install --apply (--force-conflicts, if somebody else has changed it), or apply the manifests of this version again"

// entry is one webhook of a configuration.
type entry map[string]any

// entries returns the webhooks of a configuration by name.
func entries(o *unstructured.Unstructured) map[string]entry {
	all := map[string]entry{}
	if o == nil {
		return all
	}
	list, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
	for _, w := range list {
		if e, ok := w.(map[string]any); ok {
			all[entry(e).text("name")] = e
		}
	}
	return all
}

func (e entry) text(path ...string) string {
	text, _, _ := unstructured.NestedString(e, path...)
	return text
}

// service is what the webhook calls.
func (e entry) service() string {
	if e.text("clientConfig", "service", "name") == "" {
		return e.text("clientConfig", "url")
	}
	return e.text("clientConfig", "service", "namespace") + "/" + e.text("clientConfig", "service", "name")
}

// judged returns what is compared of a webhook: without what other checks judge, and with the defaults of the API server.
func (e entry) judged() map[string]any {
	all := runtime.DeepCopyJSON(e)
	unstructured.RemoveNestedField(all, "clientConfig", "caBundle")
	delete(all, "failurePolicy")
	if _, set := all["objectSelector"]; !set {
		all["objectSelector"] = map[string]any{}
	}
	if service, found, _ := unstructured.NestedMap(all, "clientConfig", "service"); found && service["port"] == nil {
		service["port"] = int64(443)
		_ = unstructured.SetNestedMap(all, service, "clientConfig", "service") // its parents are there
	}
	return all
}

// excludes reports whether the webhook is not called for what is in a namespace.
func (e entry) excludes(namespace string) bool {
	raw, _, _ := unstructured.NestedMap(e, "namespaceSelector")
	var selector metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw, &selector); err != nil {
		return false
	}
	parsed, err := metav1.LabelSelectorAsSelector(&selector)
	return err == nil && !parsed.Matches(labels.Set{corev1.LabelMetadataName: namespace})
}

// pairs visits what this version installs with what there is, in order.
func (o Observation) pairs(visit func(kind string, live, wanted *unstructured.Unstructured)) {
	visit(object.KindMutatingConfiguration, o.Webhooks.Value.Mutating, o.Wanted.Mutating)
	visit(object.KindValidatingConfiguration, o.Webhooks.Value.Validating, o.Wanted.Validating)
}

func checkWebhooks(o Observation) []Result {
	if o.Webhooks.Err != nil {
		return unknown(o.Webhooks.Err)
	}
	var results []Result
	count := 0
	o.pairs(func(kind string, live, wanted *unstructured.Unstructured) {
		if live == nil {
			results = append(results, failed("there is no "+kind+" meshfence: the API server does not call", applyAgain))
			return
		}
		has, wants := entries(live), entries(wanted)
		for _, name := range slices.Sorted(maps.Keys(wants)) {
			count++
			if has[name] == nil {
				results = append(results, failed(fmt.Sprintf("%s meshfence has no webhook %s", kind, name), applyAgain))
			} else if fields := differing(has[name].judged(), wants[name].judged()); len(fields) > 0 {
				results = append(results, failed(fmt.Sprintf("%s of webhook %s is not what this version installs", strings.Join(fields, ", "), name), applyAgain))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(has)) {
			if wants[name] == nil {
				results = append(results, warning(fmt.Sprintf("%s meshfence has webhook %s, which this version does not install", kind, name), applyAgain))
			}
		}
	})
	return or(results, "%d webhooks in two configurations are what this version installs", count)
}

// differing lists the fields in which two webhooks differ.
func differing(a, b map[string]any) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	var fields []string
	for _, field := range slices.Sorted(maps.Keys(all)) {
		if !equality.Semantic.DeepEqual(a[field], b[field]) {
			fields = append(fields, field)
		}
	}
	return fields
}

// checkExcluded finds webhooks that are called for a namespace which this version leaves out of them. One that fails open is
// harmless while meshfence runs and delays every write there while it does not.
func checkExcluded(o Observation) []Result {
	if o.Webhooks.Err != nil {
		return unknown(o.Webhooks.Err)
	}
	var results []Result
	namespaces := []string{o.Namespace, metav1.NamespaceSystem}
	o.pairs(func(_ string, live, wanted *unstructured.Unstructured) {
		wants := entries(wanted)
		for name, e := range entries(live) {
			for _, namespace := range namespaces {
				if e.excludes(namespace) || wants[name] != nil && !wants[name].excludes(namespace) {
					continue
				}
				found := warning
				if isFail(e.text("failurePolicy")) {
					found = failed
				}
				results = append(results, found(fmt.Sprintf("webhook %s is called for namespace %s", name, namespace), applyAgain))
			}
		}
	})
	slices.SortFunc(results, func(a, b Result) int { return strings.Compare(a.Seen, b.Seen) })
	return or(results, "namespaces %s are left out", strings.Join(namespaces, " and "))
}

func checkFailurePolicy(o Observation) []Result {
	if o.Webhooks.Err != nil {
		return unknown(o.Webhooks.Err)
	}
	config := o.Config.Value.InForce
	if config == nil {
		return unknown(fmt.Errorf("no FenceConfig says what the enforcement is"))
	}
	var opens, closes, strays []string
	o.pairs(func(_ string, live, wanted *unstructured.Unstructured) {
		wants := entries(wanted)
		for name, e := range entries(live) {
			has, want := isFail(e.text("failurePolicy")), wants[name] != nil && isFail(wants[name].text("failurePolicy"))
			switch {
			case has && !want:
				strays = append(strays, name)
			case has && config.Enforcement != policy.Enforce:
				closes = append(closes, name)
			case !has && want && config.Enforcement == policy.Enforce:
				opens = append(opens, name)
			}
		}
	})
	var results []Result
	if len(strays) > 0 {
		results = append(results, failed(fmt.Sprintf("webhooks refuse writes in an outage that should pass: %s", sorted(strays)), applyAgain))
	}
	if len(closes) > 0 {
		results = append(results, warning(fmt.Sprintf("enforcement is %s, and yet an outage refuses writes: %s", config.Enforcement, sorted(closes)),
			fmt.Sprintf("meshfence install --enforcement %s --apply, or the component manifests/components/fail-open", config.Enforcement)))
	}
	if len(opens) > 0 {
		results = append(results, warning(fmt.Sprintf("enforcement is %s, and yet an outage lets leaks in: %s", config.Enforcement, sorted(opens)),
			"meshfence install --apply, or leave the component manifests/components/fail-open out"))
	}
	return or(results, "as enforcement %s needs them", config.Enforcement)
}

// sorted joins names.
func sorted(names []string) string {
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}
