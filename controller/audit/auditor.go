package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// Auditor judges what is stored by the rules of admission.
type Auditor struct {
	// Index knows the Namespaces, Services and stored objects of the cluster.
	Index *policy.Index
	// Guard is that of admission.
	Guard *leak.Guard
	// Reader reads Services, endpoints and Pods, past any cache.
	Reader client.Reader
	// Now returns the time, by which exemptions end.
	Now func() time.Time
}

// FencedService is one Service whose fence is strict or prefer.
type FencedService struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Host      string `json:"host"`
	Fence     string `json:"fence"`
	// By is the provenance.
	By string `json:"by"`
	// Ready is how many ready endpoints of this cluster a client would be sent to.
	Ready int `json:"ready"`
	// HeldBy names the holds that keep in the traffic of a strict Service right now. Where there is none, Lacks says
	// why not.
	HeldBy []string      `json:"heldBy,omitempty"`
	Lacks  []inject.Lack `json:"lacks,omitempty"`
}

// HoldReport is how far a hold that the FenceConfig names is true.
type HoldReport struct {
	Hold string `json:"hold"`
	// State is true, behind or broken, and Reason says why it is not true.
	State  string `json:"state"`
	Reason string `json:"reason,omitempty"`
}

// HoldReports lists the holds that a config names.
func HoldReports(config *policy.Config) []HoldReport {
	var reports []HoldReport
	for _, hold := range config.Holds.Each() {
		fault := config.Fault(hold)
		report := HoldReport{Hold: hold.String(), State: fault.State()}
		if fault != nil {
			report.Reason = fault.Reason
		}
		reports = append(reports, report)
	}
	return reports
}

// Result is what was found in one stored object.
type Result struct {
	Key object.Key
	// UID is that of the object.
	UID string
	leak.Verdict
}

// Report is the state of a whole cluster.
type Report struct {
	// Holds are the holds that the FenceConfig names.
	Holds []HoldReport
	// Services are the fenced ones, by Namespace and name.
	Services []FencedService
	// Results are those of the objects with findings, by kind, Namespace and name.
	Results []Result
}

// Audit judges everything: the stored objects from the index, and the others page by page.
func (a *Auditor) Audit(ctx context.Context) (Report, error) {
	report := Report{Holds: HoldReports(a.Index.Config())}
	pods := a.pods()
	for _, key := range a.Index.Objects() {
		result, err := a.object(ctx, key, a.Guard.Check, pods)
		if err != nil {
			return Report{}, err
		}
		report.add(result)
	}
	var err error
	if report.Services, err = a.live(ctx, "", report.add); err != nil {
		return Report{}, err
	}
	report.sort()
	return report, nil
}

// Namespace judges what the index does not hold of one Namespace, as it is stored: itself, and its Services, EndpointSlices
// and Pods.
func (a *Auditor) Namespace(ctx context.Context, name string) (report Report, err error) {
	report.Services, err = a.live(ctx, name, report.add)
	report.sort()
	return report, err
}

// add adds a result with findings.
func (r *Report) add(s Result) {
	if s.any() {
		r.Results = append(r.Results, s)
	}
}

// sort sorts the results, of which there is one for each object.
func (r *Report) sort() {
	slices.SortFunc(r.Results, func(x, y Result) int { return x.Key.Compare(y.Key) })
	r.Results = slices.CompactFunc(r.Results, func(x, y Result) bool { return x.Key == y.Key })
}

// live judges what the index does not hold, of a Namespace or of all where the name is empty, and returns the fenced
// Services.
func (a *Auditor) live(ctx context.Context, namespace string, add func(Result)) ([]FencedService, error) {
	in := client.ListOptions{Namespace: namespace}
	ready, err := a.endpoints(ctx, in, add)
	if err != nil {
		return nil, err
	}
	fenced, err := a.services(ctx, in, ready, add)
	if err != nil {
		return nil, err
	}
	if err := a.namespaces(ctx, namespace, add); err != nil {
		return nil, err
	}
	for _, label := range leak.PodLabels() {
		has, err := labels.NewRequirement(label, selection.Exists, nil)
		if err != nil {
			return nil, fmt.Errorf("select Pods: %w", err)
		}
		in.LabelSelector = labels.NewSelector().Add(*has)
		err = visit(ctx, a.Reader, func() client.ObjectList { return &corev1.PodList{} }, in, func(p *corev1.Pod) error {
			return a.judge(object.KindPod, p, add)
		})
		if err != nil {
			return nil, err
		}
	}
	return fenced, nil
}

func (s Result) any() bool {
	return len(s.Denied)+len(s.Warned)+len(s.Audited)+len(s.Exempted) > 0
}

// namespaces judges a Namespace, or all where the name is empty.
func (a *Auditor) namespaces(ctx context.Context, name string, add func(Result)) error {
	judge := func(n *corev1.Namespace) error { return a.judge(object.KindNamespace, n, add) }
	if name == "" {
		return visit(ctx, a.Reader, func() client.ObjectList { return &corev1.NamespaceList{} }, client.ListOptions{}, judge)
	}
	var one corev1.Namespace
	err := a.Reader.Get(ctx, client.ObjectKey{Name: name}, &one)
	if err == nil {
		return judge(&one)
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get Namespace %s: %w", name, err)
	}
	return nil
}

// Service judges a Service.
func (a *Auditor) Service(service *corev1.Service) (Result, error) {
	var result Result
	err := a.judge(object.KindService, service, func(s Result) { result = s })
	return result, err
}

func (a *Auditor) result(o *object.Object, findings []leak.Finding, view *policy.View) Result {
	s := Result{Key: o.Key(), UID: o.Metadata.UID}
	if len(findings) > 0 {
		s.Verdict = leak.Sort(findings, view, a.Now())
	}
	return s
}

func (a *Auditor) judge(kind string, obj runtime.Object, add func(Result)) error {
	raw, err := json.Marshal(obj)
	if err != nil {
		return fmt.Errorf("encode %s: %w", kind, err)
	}
	decoded, err := object.Decode(kind, raw)
	if err != nil {
		return err
	}
	view := a.Index.View()
	add(a.result(decoded, a.Guard.Check(decoded, view), view))
	return nil
}

// services lists the fenced Services, and judges all.
func (a *Auditor) services(ctx context.Context, in client.ListOptions, ready map[hostname.Host]readiness, add func(Result)) ([]FencedService, error) {
	var fenced []FencedService
	config, known := a.Index.Config(), map[hostname.Host]bool{}
	err := visit(ctx, a.Reader, func() client.ObjectList { return &corev1.ServiceList{} }, in, func(s *corev1.Service) error {
		host := hostname.Host{Namespace: s.Namespace, Name: s.Name}
		known[host] = true
		view := a.Index.View()
		if d := view.Service(host, s.Annotations); d.Fence != policy.None {
			f := FencedService{
				Namespace: s.Namespace, Name: s.Name, Host: host.FQDN(config.ClusterDomain),
				Fence: d.Fence.String(), By: d.By, Ready: ready[host].within(d.Fence, config),
			}
			f.hold(host, d.Fence, view)
			fenced = append(fenced, f)
		}
		return a.judge(object.KindService, s, add)
	})
	fenced = append(fenced, a.absent(in.Namespace, known)...)
	slices.SortFunc(fenced, func(x, y FencedService) int {
		return cmp.Or(strings.Compare(x.Namespace, y.Namespace), strings.Compare(x.Name, y.Name))
	})
	return fenced, err
}

// hold says what holds a strict Service.
func (f *FencedService) hold(host hostname.Host, fence policy.Fence, view *policy.View) {
	if fence == policy.Strict {
		held, lacks := inject.Held(host, view)
		f.HeldBy, f.Lacks = held.Names(), lacks
	}
}

// absent lists the hosts of a Namespace, or of all, that the config names as strict and that have no Service here: clients
// are sent to those of other clusters, unless something holds them (row E5).
func (a *Auditor) absent(namespace string, known map[hostname.Host]bool) []FencedService {
	var list []FencedService
	view, config := a.Index.View(), a.Index.Config()
	for _, host := range config.Named(namespace) {
		d := view.Service(host, nil)
		if known[host] || d.Fence != policy.Strict {
			continue
		}
		f := FencedService{Namespace: host.Namespace, Name: host.Name, Host: host.FQDN(config.ClusterDomain), Fence: d.Fence.String(), By: d.By}
		f.hold(host, d.Fence, view)
		list = append(list, f)
	}
	return list
}

// readiness counts the ready endpoints of a Service.
type readiness struct {
	// all are those of this cluster, located those that have a locality.
	all, located int
}

func (r *readiness) add(e discoveryv1.Endpoint) {
	if e.Conditions.Ready != nil && !*e.Conditions.Ready {
		return
	}
	r.all++
	if hasLocality(e) {
		r.located++
	}
}

// hasLocality reports whether istiod gives an endpoint a locality, which it takes from the Node of its Pod
// (NewEndpointBuilder in Istio's pilot/pkg/serviceregistry/kube/controller): the zone in a slice comes from there too,
// but where somebody wrote it by hand.
func hasLocality(e discoveryv1.Endpoint) bool {
	return e.TargetRef != nil && e.TargetRef.Kind == object.KindPod && e.Zone != nil && *e.Zone != ""
}

// within returns how many of the endpoints a client would be sent to: the distribute of hold locality, which strict
// Services have, drops those without a locality.
func (r readiness) within(fence policy.Fence, config *policy.Config) int {
	if fence == policy.Strict && config.Active().Has(policy.Locality) {
		return r.located
	}
	return r.all
}

// endpoints judges the EndpointSlices, and counts the ready endpoints of each Service.
func (a *Auditor) endpoints(ctx context.Context, in client.ListOptions, add func(Result)) (map[hostname.Host]readiness, error) {
	ready := map[hostname.Host]readiness{}
	err := visit(ctx, a.Reader, func() client.ObjectList { return &discoveryv1.EndpointSliceList{} }, in, func(s *discoveryv1.EndpointSlice) error {
		host := hostname.Host{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
		count := ready[host]
		for _, e := range s.Endpoints {
			count.add(e)
		}
		ready[host] = count
		return a.judge(object.KindEndpointSlice, s, add)
	})
	return ready, err
}

// visit reads a list page by page and visits its items.
func visit[T any](ctx context.Context, reader client.Reader, list func() client.ObjectList, of client.ListOptions, f func(*T) error) error {
	return cluster.Each(ctx, reader, list, of, func(o runtime.Object) error {
		item, ok := any(o).(*T)
		if !ok {
			return fmt.Errorf("an item is %T", o)
		}
		return f(item)
	})
}
