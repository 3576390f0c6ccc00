package search

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// writer is the user who writes.
const writer = "alice"

// Answer is what meshfence answers to a step.
type Answer struct {
	// Refused are the findings that refuse it, Warned those that it warns of.
	Refused, Warned []leak.Finding
	// Audited are those that the namespace of their host wants only recorded.
	Audited []leak.Finding
}

// rules lists the ids in findings, sorted.
func rules(findings []leak.Finding) []string {
	ids := map[string]bool{}
	for _, f := range findings {
		ids[f.Rule] = true
	}
	return slices.Sorted(maps.Keys(ids))
}

// product is the API server of a cluster with meshfence in it: webhooks and controller, without their delays.
type product struct {
	base Base
	// home is the cluster.
	home   string
	index  *policy.Index
	guard  *leak.Guard
	stored map[object.Key]stored
	writes int
	// gone are the Services that were strict when they were deleted, or whose host is strict since, and that nobody has
	// made again.
	gone map[hostname.Host]bool
	// heard reports whether the istiod of the other cluster has heard of a write: it reads WorkloadEntries, and what is of
	// Kubernetes.
	heard bool
}

// stored is an object and when it was made, by the number of the write.
type stored struct {
	Object
	made int
}

// newProduct returns the API server of a cluster with the base in it.
func newProduct(b Base, home string) (*product, error) {
	config, err := policy.ParseConfig(policy.Source{}, []byte(b.configOf(home)))
	if err != nil {
		return nil, err
	}
	p := &product{base: b, home: home, index: policy.NewIndex(config), guard: leak.NewGuard(leak.Rules()), stored: map[object.Key]stored{}, gone: map[hostname.Host]bool{}}
	for _, o := range b.objects(home) {
		next, err := p.mutate(o, nil)
		if err != nil {
			return nil, err
		}
		if _, err := p.put(next); err != nil {
			return nil, err
		}
	}
	return p, p.reconcile()
}

// write asks for a step and stores what it comes to. An error says that it is no request that can be made, such as
// one that Istio's own validation refuses.
func (p *product) write(s Step) (Answer, error) {
	return p.apply(s, true)
}

// force stores what a step comes to whatever the guard says of it.
func (p *product) force(s Step) (Answer, error) {
	return p.apply(s, false)
}

func (p *product) apply(s Step, guarded bool) (Answer, error) {
	next, old, err := p.request(s)
	if err != nil {
		return Answer{}, err
	}
	view := p.view()
	subject := admit.Request{Kind: next.Kind(), Namespace: next.Namespace(), Writer: writer, Deleted: s.Delete}
	if !s.Delete && !s.Status {
		if next, err = p.mutate(next, old); err != nil {
			return Answer{}, err
		}
	}
	if err := invalid(next); err != nil && !s.Delete {
		return Answer{}, err
	}
	subject.Raw = next.raw()
	if old != nil && !s.Delete {
		subject.Old = old.raw()
	}
	var answer Answer
	if judged(next.Kind(), s, old) {
		if answer, err = p.judge(subject, view); err != nil {
			return Answer{}, err
		}
	}
	if guarded && len(answer.Refused) > 0 {
		return answer, nil
	}
	p.heard = p.heard || messageOf(next.Kind()) == nil || next.Kind() == object.KindWorkloadEntry
	if s.Delete {
		p.remove(next.Key())
	} else if _, err := p.put(next); err != nil {
		return Answer{}, err
	}
	return answer, p.reconcile()
}

// judged reports whether the webhook is registered for a request.
func judged(kind string, s Step, old Object) bool {
	route, ok := admit.KindFor(object.GroupOf(kind), kind)
	switch {
	case !ok || !route.Validate:
		return false
	case s.Status:
		return statusRoute(route)
	case s.Delete:
		return route.DeleteIf != "" && deletionJudged(kind, old)
	}
	return true
}

// statusRoute reports whether the webhook is registered for the subresource status.
func statusRoute(r admit.Kind) bool { return r.StatusIf != "" }

// deletionJudged does what the condition on deletions says.
func deletionJudged(kind string, old Object) bool {
	switch kind {
	case object.KindService:
		asked, ok := policy.ParseFence(old.strings("annotations")[policy.FenceKey])
		return old.strings("labels")[policy.FencedLabel] == policy.Strict.String() || ok && asked != policy.Strict
	case object.KindSidecar:
		return old.spec()["workloadSelector"] == nil
	}
	return old.strings("labels")[inject.ManagedByLabel] == inject.ManagedBy
}

// request returns the object that a step comes to before admission, and the one that it replaces.
func (p *product) request(s Step) (next, old Object, err error) {
	existing, exists := p.stored[s.Object.Key()]
	if exists {
		old = existing.Object
	}
	switch {
	case (s.Delete || s.Status) && !exists:
		return nil, nil, fmt.Errorf("%v does not exist", s.Object.Key())
	case s.Delete:
		return old.clone(), old, nil
	case s.Status:
		next = old.clone()
		next["status"] = cloneTree(s.Object["status"])
		if labels := s.Object.metadata()["labels"]; labels != nil { // metadata can be changed through a status too
			next.metadata()["labels"] = cloneTree(labels)
		}
		return next, old, nil
	}
	next = s.Object.clone()
	if exists {
		if status := old["status"]; status != nil {
			next["status"] = cloneTree(status)
		}
	}
	return next, old, nil
}

func (p *product) mutate(next, old Object) (Object, error) {
	if route, ok := admit.KindFor(object.GroupOf(next.Kind()), next.Kind()); !ok || !route.Mutate {
		return next, nil
	}
	s := admit.Request{Kind: next.Kind(), Namespace: next.Namespace(), Raw: next.raw(), Writer: writer}
	if old != nil {
		s.Old = old.raw()
	}
	view := p.view()
	edits, err := p.complete(view, func() ([]inject.Edit, error) { return admit.Mutate(s, view) })
	if err != nil || len(edits) == 0 {
		return next, err
	}
	patched, err := admit.Apply(s.Raw, edits)
	if err != nil {
		return nil, err
	}
	return decodeObject(patched)
}

// complete repeats what a request does until its view is missing nothing.
func (p *product) complete(view *policy.View, do func() ([]inject.Edit, error)) ([]inject.Edit, error) {
	for {
		edits, err := do()
		if err != nil {
			return nil, err
		}
		if !p.load(view) {
			return edits, nil
		}
	}
}

// load tells a view what it is missing, which does not exist but for Pods, and reports whether there was anything.
func (p *product) load(view *policy.View) bool {
	namespaces, services := view.Missing()
	for _, name := range namespaces {
		view.LoadNamespace(name, nil)
	}
	for _, host := range services {
		view.LoadAbsent(host)
	}
	return view.AnswerPods(p.pods()) || len(namespaces)+len(services) > 0
}

// pods are those that are stored.
func (p *product) pods() policy.Pods {
	var pods policy.Pods
	for _, k := range p.keys(object.KindPod) {
		o := p.stored[k].Object
		pods = append(pods, policy.Pod{Namespace: k.Namespace, Labels: o.strings("labels"), Address: object.PodAddress(o.raw())})
	}
	return pods
}

func (p *product) view() *policy.View { return p.index.View() }

// judge asks the guard, as webhook.Admission does.
func (p *product) judge(s admit.Request, view *policy.View) (Answer, error) {
	now := time.Unix(0, 0)
	var verdict leak.Verdict
	_, err := p.complete(view, func() ([]inject.Edit, error) {
		var err error
		verdict, err = admit.Judge(s, p.guard, view, now)
		return nil, err
	})
	return Answer{Refused: verdict.Denied, Warned: verdict.Warned, Audited: verdict.Audited}, err
}

// put stores an object and tells the index, as webhook.State does.
func (p *product) put(o Object) (changed bool, err error) {
	old, exists := p.stored[o.Key()]
	if exists && reflect.DeepEqual(old.Object, o) {
		return false, nil
	}
	p.writes++
	made := p.writes
	if exists {
		made = old.made
	}
	p.stored[o.Key()] = stored{o, made}
	kind := o.Kind()
	switch entry, _ := admit.KindFor(object.GroupOf(kind), kind); {
	case kind == object.KindService:
		delete(p.gone, hostname.Host{Namespace: o.Namespace(), Name: o.Name()})
	case kind != object.KindNamespace && !entry.Stored:
		return true, nil
	}
	decoded, err := object.Decode(kind, o.raw())
	if err != nil {
		return false, err
	}
	p.index.SetObject(decoded)
	return true, nil
}

func (p *product) remove(k object.Key) {
	annotations := p.stored[k].strings("annotations")
	delete(p.stored, k)
	switch k.Kind {
	case object.KindService:
		host := hostname.Host{Namespace: k.Namespace, Name: k.Name}
		view := p.view()
		p.gone[host] = view.Service(host, annotations).Fence == policy.Strict || view.Service(host, nil).Fence == policy.Strict
		p.index.DeleteService(host)
		for _, kind := range []string{object.KindDestinationRule, object.KindVirtualService} {
			own := object.Key{Kind: kind, Namespace: k.Namespace, Name: inject.CompanionName(k.Name)}
			if o, ok := p.stored[own]; ok && isCompanion(o.Object) { // the garbage collector
				p.remove(own)
			}
		}
	default:
		p.index.DeleteObject(k)
	}
}

// keys lists what is stored of a kind, sorted.
func (p *product) keys(kind string) []object.Key {
	var keys []object.Key
	for k := range p.stored {
		if k.Kind == kind {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, object.Key.Compare)
	return keys
}

// reconcile does what the controller does: it writes companions, and again what admission would change by now.
func (p *product) reconcile() error {
	for _, k := range p.keys(object.KindService) {
		if err := p.companions(k); err != nil {
			return err
		}
	}
	for _, kind := range []string{object.KindDestinationRule, object.KindVirtualService} {
		for _, k := range p.keys(kind) {
			existing := p.stored[k]
			next, err := p.mutate(existing.Object, existing.Object)
			if err != nil {
				return err
			}
			if _, err := p.put(next); err != nil {
				return err
			}
		}
	}
	return nil
}

// companions makes the companions of a Service what they should be, as the controller does.
func (p *product) companions(k object.Key) error {
	host := hostname.Host{Namespace: k.Namespace, Name: k.Name}
	service := p.stored[k]
	var typed corev1.Service
	if err := service.into(&typed); err != nil {
		return err
	}
	view := p.view()
	view.LoadService(host, typed.Annotations)
	speaks := speechOf(typed.Spec.Ports)
	var want inject.Companions
	if typed.Spec.Type != corev1.ServiceTypeExternalName {
		want = inject.CompanionsOf(host, speaks, view)
	}
	if want.Route != nil {
		if sections, replaced := p.routed(k, host.FQDN(domain)); replaced {
			want.Route = want.Route.Beside(sections, speaks)
		}
	}
	for kind, companion := range map[string]*inject.Companion{object.KindDestinationRule: want.Rule, object.KindVirtualService: want.Route} {
		if err := p.align(object.Key{Kind: kind, Namespace: k.Namespace, Name: inject.CompanionName(k.Name)}, host.FQDN(domain), companion); err != nil {
			return err
		}
	}
	return nil
}

func speechOf(ports []corev1.ServicePort) policy.Speech {
	var known []object.ServicePort
	for _, p := range ports {
		known = append(known, object.ServicePort{Port: int64(p.Port), Name: p.Name, Protocol: string(p.Protocol), AppProtocol: p.AppProtocol})
	}
	return policy.SpeechOf(known)
}

// routed reports whether users' VirtualServices take the place of a companion of a host, and lists the sections in which
// they have routes of their own.
func (p *product) routed(service object.Key, fqdn string) (sections []string, replaced bool) {
	for _, k := range p.keys(object.KindVirtualService) {
		o := p.stored[k].Object
		own := k.Name == inject.CompanionName(service.Name) && isCompanion(o)
		if k.Namespace != service.Namespace || own || !claims(o, fqdn) {
			continue
		}
		replaced = true
		if decoded, err := object.Decode(k.Kind, o.raw()); err == nil {
			sections = append(sections, inject.OwnSections(decoded)...)
		}
	}
	return sections, replaced
}

// align makes one companion equal to what it should be, also where somebody else has taken its name. Where a user's
// object takes its place there is none.
func (p *product) align(k object.Key, fqdn string, want *inject.Companion) error {
	named, exists := p.stored[k]
	own := exists && isCompanion(named.Object)
	for _, other := range p.keys(k.Kind) {
		if o := p.stored[other].Object; k.Kind == object.KindDestinationRule && other.Namespace == k.Namespace && !(other == k && own) && claims(o, fqdn) {
			want = nil
		}
	}
	switch {
	case want == nil && own:
		p.remove(k)
		return nil
	case want == nil:
		return nil
	}
	annotations := map[string]any{}
	for key, value := range want.Annotations {
		annotations[key] = value
	}
	o := Object{
		"apiVersion": "networking.istio.io/v1", "kind": k.Kind, "spec": want.Spec,
		"metadata": map[string]any{
			"namespace": k.Namespace, "name": k.Name, "labels": map[string]any{inject.ManagedByLabel: inject.ManagedBy}, "annotations": annotations,
		},
	}
	_, err := p.put(toObject(o)) // without what only Go tells apart
	return err
}

func isCompanion(o Object) bool { return inject.IsCompanion(o.Name(), o.strings("labels")) }

// claims reports whether a user's object takes the place of a companion of a host, as the controller decides it.
func claims(o Object, fqdn string) bool {
	spec := o.spec()
	if o.Kind() == object.KindDestinationRule {
		return hostname.Resolve(text(spec["host"]), o.Namespace(), domain) == fqdn && spec["workloadSelector"] == nil
	}
	gateways, exportTo, hosts := texts(spec["gateways"]), texts(spec["exportTo"]), texts(spec["hosts"])
	for i, host := range hosts {
		hosts[i] = strings.ToLower(hostname.Resolve(host, o.Namespace(), domain))
	}
	return (len(gateways) == 0 || slices.Contains(gateways, "mesh")) &&
		(len(exportTo) == 0 || slices.Contains(exportTo, "*")) && slices.Contains(hosts, fqdn)
}

func texts(value any) []string {
	list, _ := value.([]any)
	found := make([]string, len(list))
	for i, v := range list {
		found[i] = text(v)
	}
	return found
}

// strict lists the hosts of the cluster that are strict now, with their Services.
func (p *product) strict() []string {
	var hosts []string
	for _, k := range p.keys(object.KindService) {
		host := hostname.Host{Namespace: k.Namespace, Name: k.Name}
		if p.view().Service(host, p.stored[k].strings("annotations")).Fence == policy.Strict {
			hosts = append(hosts, host.FQDN(domain))
		}
	}
	return hosts
}
