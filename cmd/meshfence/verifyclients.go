package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/xds"
)

// networkLabel names the network of a Pod, of a gateway's Service, and on Istio's namespace of a cluster.
const networkLabel = "topology.istio.io/network"

// exportAnnotation limits who sees a Service.
const exportAnnotation = "networking.istio.io/exportTo"

// clientKinds tell which clients istiod may treat differently: namespaces by what applies there and nowhere else,
// workloads by what selects them, gateways by the Gateways that select them.
type clientKinds struct {
	domain, root string
	namespaces   map[string]*clientNamespace
	gateways     map[string]gatewayKind
	networks     map[string]bool
}

// clientNamespace is what makes the clients of a namespace different.
type clientNamespace struct {
	facts map[string]bool
	// selectors are those of objects that apply to some of its workloads, by their text.
	selectors map[string]map[string]string
}

// gatewayKind is a gateway that Gateways of a namespace select.
type gatewayKind struct {
	namespace string
	labels    map[string]string
}

func newClientKinds(domain, root string) *clientKinds {
	return &clientKinds{
		domain: domain, root: root,
		namespaces: map[string]*clientNamespace{}, gateways: map[string]gatewayKind{}, networks: map[string]bool{},
	}
}

func (k *clientKinds) of(namespace string) *clientNamespace {
	if k.namespaces[namespace] == nil {
		k.namespaces[namespace] = &clientNamespace{facts: map[string]bool{}, selectors: map[string]map[string]string{}}
	}
	return k.namespaces[namespace]
}

func (k *clientKinds) network(labels map[string]string) {
	if network := labels[networkLabel]; network != "" {
		k.networks[network] = true
	}
}

// owner notes that a namespace has a fenced Service, whose clients there use its short name.
func (k *clientKinds) owner(namespace string) { k.of(namespace).facts["owner"] = true }

// service notes who alone sees a Service.
func (k *clientKinds) service(object metav1.ObjectMeta) {
	if export := object.Annotations[exportAnnotation]; export != "" {
		k.exported(strings.Split(export, ","), object.Namespace, "Service "+object.Namespace+"/"+object.Name)
	}
}

// exported gives a fact to the namespaces that alone see an object, where not all do.
func (k *clientKinds) exported(to []string, own, fact string) {
	for i := range to {
		to[i] = strings.TrimSpace(to[i])
	}
	if len(to) == 0 || slices.Contains(to, "*") {
		return
	}
	for _, namespace := range to {
		if namespace == "." {
			namespace = own
		}
		if namespace != "~" {
			k.of(namespace).facts[fact] = true
		}
	}
}

// appliedSpec is what of a spec says to whom it applies. Istio's older objects select by labels, and its newer ones by
// matchLabels.
type appliedSpec struct {
	ExportTo         []string          `json:"exportTo"`
	Host             string            `json:"host"`
	Hosts            []string          `json:"hosts"`
	Selector         json.RawMessage   `json:"selector"`
	WorkloadSelector *workloadSelector `json:"workloadSelector"`
}

type workloadSelector struct {
	Labels      map[string]string `json:"labels"`
	MatchLabels map[string]string `json:"matchLabels"`
}

// add reads an object that can make clients different.
func (k *clientKinds) add(kind string, obj metav1.ObjectMeta, encoded []byte) error {
	if kind == object.KindNamespace {
		k.of(obj.Name)
		return nil
	}
	var raw struct {
		Spec json.RawMessage `json:"spec"`
	}
	var spec appliedSpec
	if err := json.Unmarshal(encoded, &raw); err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	if len(raw.Spec) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw.Spec, &spec); err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	if kind == object.KindGateway {
		return k.gateway(obj.Namespace, spec)
	}
	if err := k.selected(obj.Namespace, spec); err != nil {
		return err
	}
	k.exported(spec.ExportTo, obj.Namespace, kind+" "+obj.Namespace+"/"+obj.Name)
	if k.differs(kind, obj, spec) && obj.Namespace != k.root {
		k.of(obj.Namespace).facts[fact(kind, obj.Namespace, raw.Spec)] = true
	}
	for _, host := range spec.Hosts {
		k.mentioned(host, kind, obj)
	}
	return nil
}

// differs reports whether an object means something else to the clients of its namespace than to all others that see it.
func (k *clientKinds) differs(kind string, obj metav1.ObjectMeta, spec appliedSpec) bool {
	switch kind {
	case object.KindVirtualService:
		return false
	case object.KindServiceEntry:
		return slices.ContainsFunc(spec.Hosts, func(host string) bool {
			return strings.HasSuffix(host, "."+k.domain) || strings.HasPrefix(host, "*")
		})
	case object.KindDestinationRule:
		// One for a Service of its own namespace is what all clients find, unless they have their own.
		own := !strings.Contains(spec.Host, ".") || strings.HasSuffix(spec.Host, "."+obj.Namespace+".svc."+k.domain)
		return !own || strings.HasPrefix(spec.Host, "*") || spec.WorkloadSelector != nil
	}
	return true
}

// fact names the content of an object, and its namespace where the content depends on it.
func fact(kind, namespace string, spec []byte) string {
	hash := fnv.New64()
	hash.Write(spec) // it does not fail
	text := fmt.Sprintf("%s %x", kind, hash.Sum64())
	relative := kind != object.KindSidecar || strings.Contains(string(spec), `"./`) || strings.Contains(string(spec), `"."`)
	if relative {
		text += " of " + namespace
	}
	return text
}

// mentioned notes the namespace that the name of a host ends with: its clients alone come to such a name by their
// search list.
func (k *clientKinds) mentioned(host, kind string, object metav1.ObjectMeta) {
	rest, ok := strings.CutSuffix(host, ".svc."+k.domain)
	if strings.Count(rest, ".") < 2 || !ok {
		return
	}
	namespace := rest[strings.LastIndexByte(rest, '.')+1:]
	k.of(namespace).facts[kind+" "+object.Namespace+"/"+object.Name] = true
}

// selected notes the workloads that an object applies to.
func (k *clientKinds) selected(namespace string, spec appliedSpec) error {
	selector := spec.WorkloadSelector
	if selector == nil && len(spec.Selector) > 0 {
		selector = &workloadSelector{}
		if err := json.Unmarshal(spec.Selector, selector); err != nil {
			return fmt.Errorf("decode selector: %w", err)
		}
	}
	if selector == nil {
		return nil
	}
	labels := maps.Clone(selector.Labels)
	if len(labels) == 0 {
		labels = maps.Clone(selector.MatchLabels)
	}
	if len(labels) > 0 && namespace != k.root {
		k.of(namespace).selectors[labelText(labels)] = labels
	}
	return nil
}

func (k *clientKinds) gateway(namespace string, spec appliedSpec) error {
	labels := map[string]string{}
	if len(spec.Selector) > 0 {
		if err := json.Unmarshal(spec.Selector, &labels); err != nil {
			return fmt.Errorf("decode selector: %w", err)
		}
	}
	if len(labels) > 0 {
		k.gateways[namespace+" "+labelText(labels)] = gatewayKind{namespace, labels}
	}
	return nil
}

// labelText is k=v,..., sorted.
func labelText(labels map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, key+"="+labels[key])
	}
	return strings.Join(parts, ",")
}

// sidecars returns a client for every namespace that differs, and for every workload there that does.
func (k *clientKinds) sidecars(like xds.Proxy) []xds.Proxy {
	var proxies []xds.Proxy
	asked := map[string]bool{}
	for _, name := range slices.SortedFunc(maps.Keys(k.namespaces), k.ordinaryFirst) {
		namespace := k.namespaces[name]
		key := strings.Join(slices.Sorted(maps.Keys(namespace.facts)), "\n")
		if asked[key] && len(namespace.selectors) == 0 {
			continue
		}
		like.Namespace = name
		if !asked[key] {
			proxies = append(proxies, like)
		}
		asked[key] = true
		for _, text := range slices.Sorted(maps.Keys(namespace.selectors)) {
			selected := like
			selected.Labels = namespace.selectors[text]
			proxies = append(proxies, selected)
		}
	}
	return proxies
}

// ordinaryFirst has namespaces in which workloads are likely stand for those that are like them.
func (k *clientKinds) ordinaryFirst(a, b string) int {
	system := func(name string) int {
		if name == k.root || strings.HasPrefix(name, "kube-") || strings.HasSuffix(name, "-system") {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(system(a), system(b)), strings.Compare(a, b))
}

// gatewaysLike returns a client for every selector of a Gateway: in the namespace of gateways, and in its own.
func (k *clientKinds) gatewaysLike(like xds.Proxy) []xds.Proxy {
	proxies := []xds.Proxy{like}
	asked := map[string]bool{like.Namespace + " " + labelText(like.Labels): true}
	for _, name := range slices.Sorted(maps.Keys(k.gateways)) {
		of := k.gateways[name]
		for _, namespace := range []string{like.Namespace, of.namespace} {
			key := namespace + " " + labelText(of.labels)
			if asked[key] {
				continue
			}
			asked[key] = true
			another := like
			another.Namespace, another.Labels = namespace, of.labels
			proxies = append(proxies, another)
		}
	}
	return proxies
}
