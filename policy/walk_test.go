package policy_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
)

// model is an index, and what it was told.
type model struct {
	index      *policy.Index
	config     *policy.Config
	namespaces map[string]map[string]string
	services   map[policy.Host]map[string]string
}

func newModel(config *policy.Config) *model {
	return &model{policy.NewIndex(config), config, map[string]map[string]string{}, map[policy.Host]map[string]string{}}
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

func (m *model) setService(h policy.Host, annotations map[string]string) {
	m.services[h] = annotations
	m.index.SetService(h, annotations)
}

func (m *model) deleteService(h policy.Host) {
	delete(m.services, h)
	m.index.DeleteService(h)
}

// decide says what an unknown Service is where annotations are nil.
func (m *model) decide(h policy.Host, annotations map[string]string) policy.Decision {
	return m.config.Namespace(h.Namespace, m.namespaces[h.Namespace]).Service(h.Name, annotations)
}

// walk answers for a host by a look at everything.
func (m *model) walk(name string) answer {
	a := answer{}
	suffix, wildcard := strings.CutPrefix(name, "*")
	if !wildcard {
		if parts := strings.Split(strings.TrimSuffix(name, domain), "."); strings.HasSuffix(name, domain) && len(parts) == 2 {
			h := host(parts[1], parts[0])
			a.add(name, m.decide(h, m.services[h]))
		}
		return a
	}
	// The last that is added stays: what is to come, Namespaces from the last, Services from the last.
	spaces := map[string]bool{}
	for namespace := range m.namespaces {
		spaces[namespace] = true
	}
	for h := range m.services {
		spaces[h.Namespace] = true
	}
	rest, inDomain := strings.CutSuffix(suffix, domain)
	if strings.HasSuffix(domain, suffix) || inDomain && !strings.Contains(rest, ".") {
		a.addFenced(name, m.config.Namespace("", nil).Service("", nil))
		for _, namespace := range slices.Backward(sorted(spaces)) {
			if strings.HasSuffix("."+namespace+domain, suffix) {
				a.addFenced("*."+namespace+domain, m.decide(host(namespace, ""), nil))
			}
		}
	} else if parts := strings.Split(rest, "."); inDomain && len(parts) == 2 {
		a.addFenced(name, m.decide(host(parts[1], ""), nil))
	}
	hosts := make([]policy.Host, 0, len(m.services))
	for h := range m.services {
		hosts = append(hosts, h)
	}
	slices.SortFunc(hosts, policy.Host.Compare)
	for _, h := range slices.Backward(hosts) {
		if fqdn := h.FQDN("cluster.local"); strings.HasSuffix(fqdn, suffix) {
			a.add(fqdn, m.decide(h, m.services[h]))
		}
	}
	return a
}

func (a answer) add(name string, d policy.Decision) { a[d.Fence.String()] = name + ", " + d.By }

func (a answer) addFenced(name string, d policy.Decision) {
	if d.Fence != policy.None {
		a.add(name, d)
	}
}

func sorted(set map[string]bool) []string {
	var list []string
	for item := range set {
		list = append(list, item)
	}
	slices.Sort(list)
	return list
}

var (
	someNamespaces = []string{"shop", "prod", "myprod", "kube-system", "a"}
	someServices   = []string{"a", "b", "a-db", "b-db", "prod"}
	somePatterns   = []string{"*", "*.local", "*.svc.cluster.local", "*prod.svc.cluster.local", "*d.svc.cluster.local", "*example.com"}
	someFences     = []map[string]string{nil, fenced("strict"), fenced("prefer"), fenced("none"), fenced("unknown"), {"tier": "data"}}
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
		if diff := cmp.Diff(m.walk(name), answerOf(view.Match(name))); diff != "" {
			t.Fatalf("%s (-walk +index):\n%s\nnamespaces %v\nservices %v", name, diff, m.namespaces, m.services)
		}
		h, exact := policy.ParseHost(name, "cluster.local")
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

// FuzzIndex: after any sequence of changes the index answers as a walk over what is left does.
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
		}
		m.check(t)
	})
}
