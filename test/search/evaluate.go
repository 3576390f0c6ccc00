package search

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// Evaluator decides worlds, and asks istiod about them. It keeps servers for the next world. It is not safe for
// concurrent use.
type Evaluator struct {
	// Temp returns a folder that goes when the search ends.
	Temp func() string
	// Fresh has every world get a server of its own.
	Fresh bool

	servers []*kept
	// answers are those of the states of one base that were asked about.
	answers map[string][]Leak
	// far is the other cluster of the base that was asked about last, which farOf says.
	far   *product
	farOf string
	// Started counts the servers, Asked the states that one was asked about.
	Started, Asked int
}

// kept is a server and what of a state it cannot change.
type kept struct {
	*server
	still string
}

// maxServers is how many servers wait for another world.
const maxServers = 4

// maxAnswers is how many answers are kept.
const maxAnswers = 500

// Close stops all servers, and forgets what they said.
func (e *Evaluator) Close() {
	e.answers = nil
	for _, s := range e.servers {
		s.failer.close()
	}
	e.servers = nil
}

// Decided is what meshfence makes of a world.
type Decided struct {
	product *product
	// Answers are those to the steps, Invalid says of which nothing came because they are no requests.
	Answers []Answer
	Invalid []error
}

// Accepted reports whether a step was accepted.
func (d Decided) Accepted(i int) bool { return d.Invalid[i] == nil && len(d.Answers[i].Refused) == 0 }

// accepted returns the steps that were accepted.
func (d Decided) accepted(w World) []Step {
	var steps []Step
	for i, step := range w.Steps {
		if d.Accepted(i) {
			steps = append(steps, step)
		}
	}
	return steps
}

// Warned reports whether meshfence warned of anything.
func (d Decided) Warned() bool {
	return slices.ContainsFunc(d.Answers, func(a Answer) bool { return len(a.Warned) > 0 })
}

// Decide lets meshfence decide on the steps of a world. The steps whose numbers are given are stored whatever the guard
// says.
func Decide(w World, forced ...int) (Decided, error) {
	p, err := newProduct(w.Base, near)
	if err != nil {
		return Decided{}, err
	}
	d := Decided{product: p, Answers: make([]Answer, len(w.Steps)), Invalid: make([]error, len(w.Steps))}
	for i, s := range w.Steps {
		write := p.write
		if slices.Contains(forced, i) {
			write = p.force
		}
		d.Answers[i], d.Invalid[i] = write(s)
	}
	return d, nil
}

// Leaks returns the connections to strict hosts that end elsewhere now, of clients of both clusters.
func (e *Evaluator) Leaks(d Decided) ([]Leak, error) {
	leaks, err := e.ask(d.product, d.product.state())
	if err != nil || len(d.Answers) > 0 && !d.product.heard {
		return leaks, err
	}
	abroad, err := e.abroad(d.product)
	return append(leaks, abroad...), err
}

// abroad returns those of clients of the far cluster. Its istiod reads the Services, Pods, EndpointSlices and WorkloadEntries of
// the near one, and its own objects of Istio's, which are those of meshfence there.
func (e *Evaluator) abroad(here *product) ([]Leak, error) {
	if text := fmt.Sprintf("%+v", here.base); e.far == nil || e.farOf != text {
		there, err := newProduct(here.base, far)
		if err != nil {
			return nil, err
		}
		e.far, e.farOf = there, text
	}
	now, state := here.state(), e.far.state()
	state.Kubernetes[near] = now.Kubernetes[near]
	for _, o := range now.Istio {
		if o.Kind() == object.KindWorkloadEntry {
			state.Remote = append(state.Remote, o)
		}
	}
	return e.ask(e.far, state)
}

// ask returns the connections of clients of the cluster of a product that end elsewhere, where its istiod reads that state.
func (e *Evaluator) ask(p *product, state State) (leaks []Leak, err error) {
	text := state.text() + fmt.Sprint(p.gone)
	if leaks, ok := e.answers[text]; ok {
		return slices.Clone(leaks), nil
	}
	var s *server
	defer func() {
		if r := recover(); r != nil {
			if f, ok := r.(failed); ok {
				err = errors.New(string(f))
			} else {
				err = fmt.Errorf("istiod panics: %v", r)
			}
			e.drop(s)
		}
	}()
	if s, err = e.server(state); err != nil {
		return nil, err
	}
	if err := s.give(state); err != nil {
		e.drop(s)
		return nil, err
	}
	e.Asked++
	hops := map[hop]bool{}
	for _, client := range p.base.clients(p.home) {
		found, taken := p.judgeClient(s.snapshot(client))
		leaks = append(leaks, found...)
		maps.Copy(hops, taken)
	}
	for _, h := range slices.SortedFunc(maps.Keys(hops), func(a, b hop) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) }) {
		leaks = append(leaks, p.beyond(h, s.snapshot)...)
	}
	if e.Fresh {
		e.drop(s)
	}
	if len(e.answers) > maxAnswers {
		e.answers = nil
	}
	if e.answers == nil {
		e.answers = map[string][]Leak{}
	}
	e.answers[text] = leaks
	return slices.Clone(leaks), nil
}

func (e *Evaluator) server(s State) (*server, error) {
	still := s.still()
	if i := slices.IndexFunc(e.servers, func(k *kept) bool { return k.still == still }); i >= 0 {
		found := e.servers[i]
		e.servers = append(slices.Delete(e.servers, i, i+1), found)
		return found.server, nil
	}
	started, err := newServer(s, e.Temp)
	if err != nil {
		return nil, err
	}
	e.Started++
	if len(e.servers) >= maxServers {
		e.drop(e.servers[0].server)
	}
	e.servers = append(e.servers, &kept{started, still})
	return started, nil
}

func (e *Evaluator) drop(s *server) {
	if s == nil {
		return
	}
	e.servers = slices.DeleteFunc(e.servers, func(k *kept) bool { return k.server == s })
	s.failer.close()
}

// Finding is a world in which meshfence is wrong.
type Finding struct {
	World World
	// Leaks are the connections that leave although everything was accepted; none for a harmless step.
	Leaks []Leak
	// Rule refuses the step Refused or warns of it, which is harmless; empty for a leak.
	Rule    string
	Refused int
	// Message is what the rule says.
	Message string
}

// leaksOf returns what leaves in a world, beyond what leaves without its steps. What meshfence has warned of counts only
// where the traffic is of the port's own protocol.
func (e *Evaluator) leaksOf(w World) ([]Leak, Decided, error) {
	d, err := Decide(w)
	if err != nil {
		return nil, d, err
	}
	leaks, err := e.Leaks(d)
	if err != nil {
		return nil, d, err
	}
	return d.Serious(w, leaks), d, nil
}

// Serious leaves out what a warning is enough for: what is not of the protocol of a port, and what was there when a fence
// came. Nor is it serious where nothing but a record is asked for.
func (d Decided) Serious(w World, leaks []Leak) []Leak {
	warned, told := d.Warned(), d.told(w)
	return slices.DeleteFunc(leaks, func(l Leak) bool { return l.Soft && warned || told[l.Host] })
}

// told are the hosts of which a step was warned that an object that exists already takes their traffic, and those whose
// namespace wants findings only warned of or recorded.
func (d Decided) told(w World) map[string]bool {
	hosts := map[string]bool{}
	for i, a := range d.Answers {
		for _, f := range a.Warned {
			for _, host := range f.Host.Hosts() {
				hosts[host] = hosts[host] || f.Object != w.Steps[i].Object.Key() || f.Severity == leak.Deny && d.product.labelled(host)
			}
		}
		for _, f := range a.Audited {
			for _, host := range f.Host.Hosts() {
				hosts[host] = hosts[host] || d.product.labelled(host)
			}
		}
	}
	return hosts
}

// labelled reports whether the namespace of a host says itself what findings about it lead to.
func (p *product) labelled(fqdn string) bool {
	host, ok := hostname.Parse(fqdn, domain)
	return ok && p.stored[object.Key{Kind: object.KindNamespace, Name: host.Namespace}].strings("labels")[policy.EnforcementLabel] != ""
}

// Signature tells findings apart by their shape.
func (f Finding) Signature() string {
	var parts []string
	for i, s := range f.World.Steps {
		verb := ""
		switch {
		case s.Delete:
			parts = append(parts, "delete "+s.Object.Kind())
			continue
		case s.Status:
			verb = "status of "
		case slices.ContainsFunc(f.World.Steps[:i], func(other Step) bool { return other.Object.Key() == s.Object.Key() }):
			verb = "update of "
		}
		fields := s.Object.fields()
		if s.Object.Kind() == object.KindService || s.Object.Kind() == object.KindPod || s.Object.Kind() == object.KindEndpointSlice {
			fields = slices.DeleteFunc(fields, func(f string) bool { return strings.HasPrefix(f, "spec.ports") || strings.HasPrefix(f, "status") })
		}
		parts = append(parts, verb+s.Object.Kind()+" {"+strings.Join(fields, " ")+"}")
	}
	slices.Sort(parts)
	what := f.Rule
	if len(f.Leaks) > 0 {
		what = f.Leaks[0].shape()
	}
	return what + ": " + strings.Join(parts, " + ")
}

// fine is a signature between the two: kinds, the fields of their specs, whether a name is that of a companion, and how
// the connection leaves.
func (f Finding) fine() string {
	var parts []string
	for _, s := range f.World.Steps {
		part := s.Object.Kind() + " " + strings.Join(slices.Sorted(maps.Keys(s.Object.spec())), " ")
		if _, reserved := inject.CompanionOf(s.Object.Name()); reserved {
			part += " as a companion"
		}
		parts = append(parts, part)
	}
	slices.Sort(parts)
	what := f.Rule
	if len(f.Leaks) > 0 {
		listener, _, _ := strings.Cut(f.Leaks[0].Outcome.Listener, "_")
		what = f.Leaks[0].shape() + " " + listener
	}
	return what + ": " + strings.Join(parts, " + ")
}

// coarse is a coarser signature.
func (f Finding) coarse() string {
	var parts []string
	for _, s := range f.World.Steps {
		parts = append(parts, s.Object.Kind())
	}
	slices.Sort(parts)
	what := f.Rule
	if len(f.Leaks) > 0 {
		what = f.Leaks[0].shape()
	}
	return what + ": " + strings.Join(parts, " + ")
}
