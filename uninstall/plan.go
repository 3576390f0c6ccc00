package uninstall

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/companion"
	"github.com/meshfence/meshfence/controller/mesh"
	meshconfigs "github.com/meshfence/meshfence/controller/meshconfig"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

// Plan is what an uninstallation does, in this order: Install, then Changes.
type Plan struct {
	// Install is what stops first.
	Install Install
	// Changes are the objects that meshfence has put something into, in the order in which it is taken back.
	Changes []Change
	// Left says what only a user can change.
	Left []string
	// Asking counts the labels and annotations by which users ask for fences, which are theirs and stay.
	Asking int
}

// Change takes back what meshfence did to one object.
type Change struct {
	object.Key

	// Details say what is done to it, in the order in which it is; none for a companion, which is deleted.
	Details []string

	object client.Object
	edits  []inject.Edit
	// leads are the hosts whose reserved subsets a VirtualService leads to before the change, drops is the host of a
	// DestinationRule that has none afterwards.
	leads []string
	drops string
}

// String says in one line what is done.
func (c Change) String() string {
	what := strings.Join(c.Details, ", ")
	if c.deletes() {
		what = "delete it, which is a companion"
	}
	return fmt.Sprintf("%s %s/%s: %s", c.Kind, c.Namespace, c.Name, what)
}

func (c Change) deletes() bool { return len(c.Details) == 0 }

// dropsFor reports whether the change takes a subset from one of the hosts.
func (c Change) dropsFor(hosts []string) bool {
	return c.drops != "" && slices.ContainsFunc(hosts, func(host string) bool { return mesh.Covers(c.drops, host) })
}

// Planner plans object by object. Nothing is fenced for it, so that what the edits of admission take back is all that
// admission ever put in.
type Planner struct {
	view    *policy.View
	domain  string
	changes map[string][]Change // by kind
	// naming are the hosts whose reserved subset a VirtualService names that nobody but its owner can change, with its name.
	naming map[string]string
	left   []string
	asking int
}

// NewPlanner returns a planner for a mesh with that cluster domain.
func NewPlanner(domain string) *Planner {
	nothing := policy.NewIndex(&policy.Config{Clusters: []string{""}, ClusterDomain: domain})
	return &Planner{view: nothing.View(), domain: domain, changes: map[string][]Change{}, naming: map[string]string{}}
}

// Add plans for an object as it is stored: a ConfigMap of Istio's, a DestinationRule or a VirtualService, or the metadata of
// a Service or a Namespace.
func (p *Planner) Add(o client.Object) error {
	if _, asks := askingFor(o)[policy.FenceKey]; asks {
		p.asking++
	}
	switch o := o.(type) {
	case *corev1.ConfigMap:
		p.addConfigMap(o)
		return nil
	case *unstructured.Unstructured:
		return p.addMesh(o)
	case *metav1.PartialObjectMetadata:
		if o.Kind == object.KindService {
			return p.addService(o)
		}
	}
	return nil
}

// askingFor returns the annotations or labels by which an object may ask for a fence.
func askingFor(o client.Object) map[string]string {
	m, ok := o.(*metav1.PartialObjectMetadata)
	switch {
	case ok && m.Kind == object.KindService:
		return m.Annotations
	case ok:
		return m.Labels
	}
	return nil
}

// Plan returns what is to be done about all that was added.
func (p *Planner) Plan() Plan {
	plan := Plan{Left: p.left, Asking: p.asking}
	for _, kind := range []string{object.KindVirtualService, object.KindDestinationRule, object.KindConfigMap, object.KindService} {
		changes := p.changes[kind]
		slices.SortFunc(changes, func(a, b Change) int {
			return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
		})
		for _, c := range changes {
			if by := p.namedBy(c); by != "" {
				plan.Left = append(plan.Left, fmt.Sprintf("%s %s/%s: keeps a subset of meshfence, because VirtualService %s leads to it: change its routes, and run this again",
					c.Kind, c.Namespace, c.Name, by))
				continue
			}
			plan.Changes = append(plan.Changes, c)
		}
	}
	slices.Sort(plan.Left)
	return plan
}

// namedBy names a VirtualService that its owner must change before a subset goes; empty where there is none.
func (p *Planner) namedBy(c Change) string {
	var names []string
	for host, name := range p.naming {
		if c.dropsFor([]string{host}) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func (p *Planner) add(c Change, o client.Object) {
	c.Key, c.object = object.Key{Kind: o.GetObjectKind().GroupVersionKind().Kind, Namespace: o.GetNamespace(), Name: o.GetName()}, o
	p.changes[c.Kind] = append(p.changes[c.Kind], c)
}

// addService takes back the label and the annotation. What the Service itself asks for does not count.
func (p *Planner) addService(service *metav1.PartialObjectMetadata) error {
	silent := service.DeepCopy()
	delete(silent.Annotations, policy.FenceKey)
	decoded, err := mesh.Decode(silent)
	if err != nil {
		return err
	}
	plan := mesh.Plan(decoded, p.view)
	if len(plan.Edits) == 0 {
		return nil
	}
	p.add(Change{edits: plan.Edits, Details: details(plan.Edits)}, service)
	return nil
}

// addMesh takes back what is in a DestinationRule or VirtualService, and deletes a companion.
func (p *Planner) addMesh(u *unstructured.Unstructured) error {
	decoded, err := mesh.Decode(u)
	if err != nil {
		p.left = append(p.left, fmt.Sprintf("%s %s/%s: cannot be read: %v", u.GetKind(), u.GetNamespace(), u.GetName(), err))
		return nil
	}
	plan, isCompanion := mesh.Plan(decoded, p.view), mesh.IsCompanion(decoded)
	c := Change{edits: plan.Edits, Details: details(plan.Edits)}
	if isCompanion {
		c = Change{}
		if c.edits = companion.Restored(u); c.edits != nil {
			c.Details = []string{"give it back what it held before it was made a companion"}
		}
	}
	if rule := decoded.DestinationRule; rule != nil && (len(plan.Dropped) > 0 || isCompanion) {
		c.drops = p.resolve(rule.Host, u.GetNamespace())
	}
	if route := decoded.VirtualService; route != nil {
		for _, d := range route.Destinations() {
			host := p.resolve(d.Host, u.GetNamespace())
			switch {
			case d.Subset == policy.ReservedSubset:
				c.leads = append(c.leads, host)
			case policy.IsReservedSubset(d.Subset) && !isCompanion:
				p.naming[host] = u.GetNamespace() + "/" + u.GetName()
			}
		}
	}
	if len(c.edits) > 0 || isCompanion {
		p.add(c, u)
		return nil
	}
	p.disown(u)
	return nil
}

func (p *Planner) resolve(host, namespace string) string {
	return strings.ToLower(hostname.Resolve(host, namespace, p.domain))
}

// addConfigMap takes our entries out of a mesh ConfigMap.
func (p *Planner) addConfigMap(o *corev1.ConfigMap) {
	record := o.Annotations[meshconfig.ClusterLocalHostsAnnotation]
	plan, err := meshconfigs.PlanFor(o, p.domain, nil, fieldOwner)
	switch {
	case record == "":
		p.disown(o)
	case err != nil:
		p.left = append(p.left, fmt.Sprintf("%s: its clusterLocal entries of meshfence must be taken out by hand", err))
	case plan.InLine:
		p.disown(o)
	default:
		edits := []inject.Edit{
			{Path: []string{"data", meshconfig.Key}, Value: plan.Text},
			{Path: []string{"metadata", "annotations", meshconfig.ClusterLocalHostsAnnotation}, Prune: 1},
		}
		p.add(Change{edits: edits, Details: []string{fmt.Sprintf("take %d lines with clusterLocal entries out of data.%s",
			strings.Count(o.Data[meshconfig.Key], "\n")-strings.Count(plan.Text, "\n"), meshconfig.Key)}}, o)
	}
}

// disown plans for an object that is as it shall be, but for that meshfence counts as an owner of its fields.
func (p *Planner) disown(o client.Object) {
	if meshconfigs.Disowned(o.GetManagedFields(), fieldOwner) != nil {
		p.add(Change{Details: []string{"give up the ownership of its fields"}}, o)
	}
}

// details says what edits do.
func details(edits []inject.Edit) []string {
	var list []string
	for _, e := range edits {
		what := "remove "
		if e.Value != nil {
			what = "set back "
		}
		list = append(list, what+e.Path.String())
	}
	return list
}
