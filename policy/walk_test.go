package policy_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// model is an index, and what it was told.
type model struct {
	index      *policy.Index
	config     *policy.Config
	namespaces map[string]map[string]string
	services   map[hostname.Host]map[string]string
}

func newModel(config *policy.Config) *model {
	return &model{policy.NewIndex(config), config, map[string]map[string]string{}, map[hostname.Host]map[string]string{}}
}

func (m *model) setConfig(c *policy.Config) {
	m.config = c
	m.index.SetConfig(c)
}

func (m *model) setNamespace(name string, labels map[string]string) {
	m.namespaces[name] = labels
	m.index.SetNamespace(name, labels)
}

func (m *model) deleteNamespace(name string) {
	delete(m.namespaces, name)
	m.index.DeleteNamespace(name)
}

func (m *model) setService(h hostname.Host, annotations map[string]string) {
	m.services[h] = annotations
	m.index.SetService(h, annotations)
}

func (m *model) deleteService(h hostname.Host) {
	delete(m.services, h)
	m.index.DeleteService(h)
}

// decide says what an unknown Service is where annotations are nil.
func (m *model) decide(h hostname.Host, annotations map[string]string) policy.Decision {
	return m.config.Namespace(h.Namespace, m.namespaces[h.Namespace]).Service(h.Name, annotations)
}

// covered is a host that a wildcard covers; its name is "*" where it is a Namespace.
type covered struct {
	hostname.Host
	policy.Decision
	enforcement policy.Enforcement
}

func (m *model) cover(h hostname.Host, annotations map[string]string) covered {
	d := m.decide(h, annotations)
	return covered{h, d, m.index.View().Enforcement(h.Namespace, d.Locked)}
}

// rank orders hosts by what the documentation says of the tightest.
func (c covered) rank() string {
	return fmt.Sprint(!c.Locked, slices.Index(policy.Enforcements(), string(c.enforcement)), c.Name == "*", c.Namespace, "/", c.Name)
}

// whole writes down the tightest of the hosts and what else it stands for.
func whole(hosts []covered) string {
	hosts = slices.SortedFunc(slices.Values(hosts), func(a, b covered) int { return strings.Compare(a.rank(), b.rank()) })
	var names []string
	hardest := len(policy.Enforcements())
	for _, h := range hosts {
		names = append(names, h.FQDN("cluster.local"))
		hardest = min(hardest, slices.Index(policy.Enforcements(), string(h.enforcement)))
	}
	shown := names[:min(len(names), 10)]
	return fmt.Sprintf("%s, %t, %v, %d more, %s", hosts[0].By, hosts[0].Locked, shown, len(names)-len(shown), policy.Enforcements()[hardest])
}

func wholeOf(f policy.FencedHost) string {
	return fmt.Sprintf("%s, %t, %v, %d more, %s", f.By, f.Locked, f.Hosts(), f.More, f.Enforcement)
}

// wholes says of a match what answerOf does, and what else each host stands for.
func wholes(m policy.Match) answer {
	a := answer{}
	for i, name := range policy.Fences() {
		if f := policy.Fence(i); m.Has(f) {
			a[name] = wholeOf(m.Host(f))
		}
	}
	return a
}

// walk answers for a host by a look at everything.
func (m *model) walk(name string) answer {
	found := map[policy.Fence][]covered{}
	add := func(c covered) { found[c.Fence] = append(found[c.Fence], c) }
	addFenced := func(c covered) {
		if c.Fence != policy.None {
			add(c)
		}
	}
	suffix, wildcard := strings.CutPrefix(name, "*")
	if !wildcard {
		if parts := strings.Split(strings.TrimSuffix(name, domain), "."); strings.HasSuffix(name, domain) && len(parts) == 2 {
			h := host(parts[1], parts[0])
			add(m.cover(h, m.services[h]))
		}
		return answers(found)
	}
	for h := range m.services {
		if strings.HasSuffix(h.FQDN("cluster.local"), suffix) {
			add(m.cover(h, m.services[h]))
		}
	}
	rest, inDomain := strings.CutSuffix(suffix, domain)
	toCome := covered{}
	if strings.HasSuffix(domain, suffix) || inDomain && !strings.Contains(rest, ".") {
		for namespace := range m.spaces() {
			if strings.HasSuffix("."+namespace+domain, suffix) {
				addFenced(m.cover(host(namespace, "*"), nil))
			}
		}
		toCome.Decision, toCome.enforcement = m.config.Namespace("", nil).Service("", nil), m.config.Enforcement
	} else if parts := strings.Split(rest, "."); inDomain && len(parts) == 2 {
		toCome = m.cover(host(parts[1], ""), nil)
	}
	a := answers(found)
	if toCome.Fence == policy.None {
		return a
	}
	if len(found[toCome.Fence]) == 0 {
		a[toCome.Fence.String()] = fmt.Sprintf("%s, %t, [%s], 0 more, %s", toCome.By, toCome.Locked, name, toCome.enforcement)
		return a
	}
	if toCome.enforcement == policy.Enforce {
		text := a[toCome.Fence.String()]
		a[toCome.Fence.String()] = text[:strings.LastIndex(text, " ")] + " enforce"
	}
	return a
}

func answers(found map[policy.Fence][]covered) answer {
	a := answer{}
	for fence, hosts := range found {
		a[fence.String()] = whole(hosts)
	}
	return a
}

// spaces returns the Namespaces that are known, or have Services.
func (m *model) spaces() map[string]bool {
	spaces := map[string]bool{}
	for namespace := range m.namespaces {
		spaces[namespace] = true
	}
	for h := range m.services {
		spaces[h.Namespace] = true
	}
	return spaces
}

var (
	someNamespaces = []string{"shop", "prod", "myprod", "kube-system", "a"}
	someServices   = []string{"a", "b", "a-db", "b-db", "prod"}
	somePatterns   = []string{"*", "*.local", "*.svc.cluster.local", "*prod.svc.cluster.local", "*d.svc.cluster.local", "*example.com"}
	someFences     = []map[string]string{nil, fenced("strict"), fenced("prefer"), fenced("none"), fenced("unknown"), {"tier": "data"}, {policy.EnforcementLabel: "audit"}, {policy.EnforcementLabel: "warn", policy.FenceKey: "strict"}}
)

// check compares the index with the walk for every host and many wildcards.
func (m *model) check(t *testing.T) {
	t.Helper()
	names := slices.Clone(somePatterns)
	for _, namespace := range someNamespaces {
		names = append(names, "*."+namespace+domain, "*b."+namespace+domain, "*-db."+namespace+domain, "*.a."+namespace+domain)
		for _, service := range someServices {
			names = append(names, service+"."+namespace+domain)
		}
	}
	for _, name := range names {
		view := m.index.View()
		if diff := cmp.Diff(m.walk(name), wholes(view.Match(name))); diff != "" {
			t.Fatalf("%s (-walk +index):\n%s\nnamespaces %v\nservices %v", name, diff, m.namespaces, m.services)
		}
		h, exact := hostname.Parse(name, "cluster.local")
		if !exact {
			continue
		}
		_, knownNamespace := m.namespaces[h.Namespace]
		_, knownService := m.services[h]
		namespaces, services := view.Missing()
		if (len(namespaces) == 0) != knownNamespace || (len(services) == 0) != (knownService || m.decide(h, nil).Exempt) {
			t.Fatalf("%s: missing %v and %v, known %t and %t", name, namespaces, services, knownNamespace, knownService)
		}
	}
}

// FuzzIndex: after each of any sequence of changes the index answers as a walk over what is left does.
func FuzzIndex(f *testing.F) {
	configs := []*policy.Config{
		configOf(f, "{default: none}"),
		configOf(f, "{default: strict, namespaces: [{name: shop, fence: none}, {selector: {matchLabels: {tier: data}}, fence: prefer, locked: true}]}"),
		configOf(f, "{default: prefer, exemptNamespaces: [shop, new], services: [{namespace: prod, name: a-db, fence: strict, locked: true}]}"),
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		steps := make([]byte, 3*(i+1))
		for j := range steps {
			steps[j] = byte(random.Uint32())
		}
		f.Add(steps)
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		m := newModel(configs[0])
		for step := range slices.Chunk(steps[:min(len(steps), 300)], 3) {
			if len(step) < 3 {
				break
			}
			namespace := someNamespaces[int(step[1])%len(someNamespaces)]
			h := host(namespace, someServices[int(step[1]/16)%len(someServices)])
			values := someFences[int(step[2])%len(someFences)]
			switch step[0] % 16 {
			case 0:
				m.setConfig(configs[int(step[1])%len(configs)])
			case 1, 2, 3:
				m.setNamespace(namespace, values)
			case 4, 5:
				m.deleteNamespace(namespace)
			case 6, 7, 8, 9:
				m.deleteService(h)
			default:
				m.setService(h, values)
			}
			m.check(t)
		}
	})
}
