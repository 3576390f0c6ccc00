package policy_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// backendModel is a model that also knows what each Service selects, and its addresses.
type backendModel struct {
	*model
	specs map[hostname.Host]object.ServiceSpec
}

func (m backendModel) setSpec(h hostname.Host, spec object.ServiceSpec) {
	if _, exists := m.services[h]; exists {
		m.specs[h] = spec
	}
	m.index.SetServiceSpec(h, spec)
}

func (m backendModel) deleteService(h hostname.Host) {
	delete(m.specs, h)
	m.model.deleteService(h)
}

// load tells a view of a Service, and the model for the rest of its life.
func (m backendModel) load(view *policy.View, h hostname.Host, annotations map[string]string, spec object.ServiceSpec) {
	m.services[h], m.specs[h] = annotations, spec
	view.LoadService(h, annotations)
	view.LoadServiceSpec(h, spec)
}

// strict returns the strict Services, by a look at all of them, that are wanted, the tightest first.
func (m backendModel) strict(wanted func(hostname.Host, object.ServiceSpec) bool) []covered {
	var hosts []covered
	for h, spec := range m.specs {
		if c := m.cover(h, m.services[h]); c.Fence == policy.Strict && wanted(h, spec) {
			hosts = append(hosts, c)
		}
	}
	slices.SortFunc(hosts, func(a, b covered) int { return strings.Compare(a.rank(), b.rank()) })
	return hosts
}

// first says which of them is the tightest, and what else it stands for; empty for none.
func (m backendModel) first(wanted func(hostname.Host, object.ServiceSpec) bool) string {
	hosts := m.strict(wanted)
	if len(hosts) == 0 {
		return ""
	}
	return whole(hosts)
}

// alone returns a view of an index that has one Service of the model alone.
func (m backendModel) alone(h hostname.Host) *policy.View {
	index := policy.NewIndex(m.config)
	index.SetNamespace(h.Namespace, m.namespaces[h.Namespace])
	index.SetService(h, m.services[h])
	index.SetServiceSpec(h, m.specs[h])
	return index.View()
}

func (m backendModel) selecting(namespace string, labels map[string]string) string {
	return m.first(func(h hostname.Host, spec object.ServiceSpec) bool {
		for key, value := range spec.Selector {
			if have, ok := labels[key]; !ok || have != value {
				return false
			}
		}
		return h.Namespace == namespace && len(spec.Selector) > 0
	})
}

func (m backendModel) overlapping(namespace string, labels map[string]string) string {
	return m.first(func(h hostname.Host, spec object.ServiceSpec) bool {
		shared := 0
		for key, value := range spec.Selector {
			have, ok := labels[key]
			if ok && have != value {
				return false
			}
			if ok {
				shared++
			}
		}
		return h.Namespace == namespace && len(spec.Selector) > 0 && (shared > 0 || len(labels) == 0)
	})
}

func (m backendModel) bound(namespace string, labels map[string]string) string {
	within := func(a, b map[string]string) bool {
		for key, value := range a {
			if have, ok := b[key]; !ok || have != value {
				return false
			}
		}
		return true
	}
	return m.first(func(h hostname.Host, spec object.ServiceSpec) bool {
		return h.Namespace == namespace && len(spec.Selector) > 0 && (within(labels, spec.Selector) || within(spec.Selector, labels))
	})
}

func (m backendModel) addressed(prefix netip.Prefix, ports policy.Ports) []covered {
	return m.strict(func(_ hostname.Host, spec object.ServiceSpec) bool {
		return hasPort(spec, ports) && slices.ContainsFunc(append([]string{spec.ClusterIP}, spec.ClusterIPs...), func(text string) bool {
			address, err := netip.ParseAddr(text)
			return err == nil && prefix.Contains(address)
		})
	})
}

func hasPort(spec object.ServiceSpec, ports policy.Ports) bool {
	if len(spec.Ports) == 0 {
		return !ports.HTTP && len(ports.Numbers) == 0
	}
	return slices.ContainsFunc(spec.Ports, func(p object.ServicePort) bool {
		return p.Protocol != "UDP" && (len(ports.Numbers) == 0 || slices.Contains(ports.Numbers, p.Port)) && (!ports.HTTP || strings.HasPrefix(p.Name, "http"))
	})
}

var (
	someLabels = []map[string]string{
		nil, {}, {"app": "a"}, {"app": "b"}, {"app": "a", "tier": "x"}, {"tier": "x"}, {"app": "a", "tier": "y"}, {"app": "b", "tier": "x", "zone": ""},
	}
	somePrefixes = []string{
		"0.0.0.0/0", "::/0", "10.0.0.0/16", "10.0.1.0/24", "10.0.1.0/28", "10.0.1.3/32", "10.0.1.19/32", "10.0.2.1/32", "fd00::/64", "fd00::3/128",
	}
)

// addresses returns those that a Service may have. No other has them, as no API server gives an address twice.
func addresses(h hostname.Host, choice int) (ip string, all []string) {
	n, m := slices.Index(someNamespaces, h.Namespace), slices.Index(someServices, h.Name)
	four := netip.AddrFrom4([4]byte{10, 0, byte(n), byte(16*(choice%2) + m)}).String()
	six := netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(n), 15: byte(m)}).String()
	switch choice % 6 {
	case 0:
		return "None", []string{"None"}
	case 1:
		return "", nil
	case 2:
		return four, nil // as an old client would write it
	}
	return four, []string{four, six}
}

// check compares every answer of a view with that of the model.
func (m backendModel) check(t *testing.T, view *policy.View) {
	t.Helper()
	compare := func(question, want string, got policy.FencedHost, found bool) {
		t.Helper()
		if found != (want != "") || found && (wholeOf(got) != want || got.Fence != policy.Strict) {
			t.Fatalf("%s: got %q (%t, %v), want %q\nservices %v\nspecs %v", question, wholeOf(got), found, got.Fence, want, m.services, m.specs)
		}
	}
	somewhat := func(question string, want []covered, got policy.FencedHost, found bool) { // not how many more
		t.Helper()
		text := ""
		if len(want) > 0 {
			text = whole(want[:min(len(want), 10)])
		}
		got.More = 0
		compare(question, text, got, found)
	}
	for _, namespace := range someNamespaces {
		for _, labels := range someLabels {
			got, found := view.StrictSelecting(namespace, labels)
			compare("selecting", m.selecting(namespace, labels), got, found)
			got, found = view.StrictOverlapping(namespace, labels)
			compare("overlapping", m.overlapping(namespace, labels), got, found)
			got, found = view.StrictBound(namespace, labels)
			compare("bound", m.bound(namespace, labels), got, found)
		}
	}
	for _, ports := range []policy.Ports{{}, {HTTP: true}, {Numbers: []int64{80}}, {Numbers: []int64{80, 90}, HTTP: true}, {Numbers: []int64{90, 91, 92, 93, 94, 95, 96, 97, 98, 99}}} {
		for _, text := range somePrefixes {
			prefix := netip.MustParsePrefix(text)
			got, found := view.StrictAddress(prefix, ports)
			want := m.addressed(prefix, ports)
			if found != (len(want) > 0) || found && !oneOf(want, got) {
				t.Fatalf("%s %v: got %q (%t), want one of %v", text, ports, got.Host, found, want)
			}
		}
		got, found := view.StrictPort(ports)
		somewhat("port", m.strict(func(_ hostname.Host, spec object.ServiceSpec) bool { return hasPort(spec, ports) }), got, found)
		for _, text := range someSidecars {
			clients := view.ClientsIn("shop", objectOf(t, object.KindSidecar, "shop", "it", `"spec": `+text))
			got, found := view.StrictHidden(&clients, ports)
			somewhat(text, m.strict(func(h hostname.Host, _ object.ServiceSpec) bool {
				_, hidden := m.alone(h).StrictHidden(&clients, ports)
				return hidden
			}), got, found)
		}
	}
}

// someSidecars import some of the Services, on some of their ports.
var someSidecars = []string{
	`{}`, `{"egress": [{"hosts": ["./*"]}]}`, `{"egress": [{"hosts": ["*/*-db.prod.svc.cluster.local", "shop/b.shop.svc.cluster.local"]}]}`,
	`{"egress": [{"port": {"number": 80, "protocol": "TCP"}, "hosts": ["a/*"]}, {"hosts": ["*/*", "~prod/b.prod.svc.cluster.local"]}]}`,
	`{"egress": [{"port": {"number": 90, "protocol": "HTTP"}, "hosts": ["*/*"]}, {"bind": "10.9.9.9", "hosts": ["*/*"]}]}`,
}

// oneOf reports whether an answer is one of the hosts that are as tight as the first.
func oneOf(hosts []covered, got policy.FencedHost) bool {
	return slices.ContainsFunc(hosts, func(h covered) bool {
		return got.Host == h.FQDN("cluster.local") && h.Locked == hosts[0].Locked && h.enforcement == hosts[0].enforcement &&
			got.Locked == h.Locked && got.Enforcement == hardest(hosts)
	})
}

func hardest(hosts []covered) policy.Enforcement {
	all := policy.Enforcements()
	for _, h := range hosts {
		all = all[:min(len(all), slices.Index(policy.Enforcements(), string(h.enforcement))+1)]
	}
	return policy.Enforcement(all[len(all)-1])
}

// FuzzBackends: after any sequence of changes the index answers as a walk over what is left does, and so does a
// view that was told of Services itself.
func FuzzBackends(f *testing.F) {
	configs := []*policy.Config{
		configOf(f, "{default: none}"),
		configOf(f, "{default: strict, namespaces: [{name: shop, fence: none}]}"),
		configOf(f, "{default: prefer, exemptNamespaces: [shop], services: [{namespace: prod, name: a-db, fence: strict, locked: true}]}"),
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		steps := make([]byte, 4*(3*i+1))
		for j := range steps {
			steps[j] = byte(random.Uint32())
		}
		f.Add(steps)
	}
	f.Fuzz(func(t *testing.T, steps []byte) {
		m := backendModel{newModel(configs[0]), map[hostname.Host]object.ServiceSpec{}}
		for step := range slices.Chunk(steps[:min(len(steps), 800)/4*4], 4) {
			namespace := someNamespaces[int(step[1])%len(someNamespaces)]
			h := host(namespace, someServices[int(step[1]/16)%len(someServices)])
			values, spec := someFences[int(step[2])%len(someFences)], specOf(h, int(step[3]))
			switch step[0] % 16 {
			case 0:
				m.setConfig(configs[int(step[1])%len(configs)])
			case 1, 2:
				m.setNamespace(namespace, values)
			case 3:
				m.deleteNamespace(namespace)
			case 4, 5, 6:
				m.deleteService(h)
			case 7, 8, 9, 10, 11:
				m.setSpec(h, spec)
			default:
				m.setService(h, values)
			}
		}
		m.check(t, m.index.View())
		view := m.index.View()
		for i, b := range steps[:min(len(steps), 4)] {
			h := host(someNamespaces[int(b)%len(someNamespaces)], someServices[int(b/16)%len(someServices)])
			m.load(view, h, someFences[(int(b)+i)%len(someFences)], specOf(h, int(b)+i))
		}
		m.check(t, view)
	})
}

func specOf(h hostname.Host, choice int) object.ServiceSpec {
	spec := object.ServiceSpec{Selector: someLabels[choice%len(someLabels)]}
	spec.ClusterIP, spec.ClusterIPs = addresses(h, choice/8)
	spec.Ports = [][]object.ServicePort{
		nil, {{Port: 80, Name: "http"}}, {{Port: 80, Name: "tcp"}, {Port: 90, Name: "http"}}, {{Port: 90, Name: "tcp"}}, {{Port: 53, Name: "dns", Protocol: "UDP"}, {Port: 90, Name: "http"}}, {{Port: 90, Name: "http", Protocol: "UDP"}},
	}[choice%6]
	spec.ExportTo = [][]string{nil, nil, {"."}, {"shop", "a"}, {"~"}, {"*"}}[choice/2%6]
	return spec
}

// TestServiceSpecs: what the random changes do not meet.
func TestServiceSpecs(t *testing.T) {
	t.Parallel()
	cart, till := host("shop", "cart"), host("shop", "till")
	one := netip.MustParsePrefix("10.0.0.1/32")
	spec := func(address string) object.ServiceSpec {
		return object.ServiceSpec{ClusterIP: address, Selector: map[string]string{"app": "a"}}
	}
	tests := map[string]struct {
		change              func(*policy.Index)
		address, selectedBy string
	}{
		"an address goes over to another Service, which comes first": {
			change: func(x *policy.Index) {
				x.SetServiceSpec(till, spec("10.0.0.1"))
				x.DeleteService(cart)
			}, address: "till.shop" + domain, selectedBy: "till.shop" + domain,
		},
		"a Service gets another address": {
			change: func(x *policy.Index) { x.SetServiceSpec(cart, spec("10.0.0.2")) }, selectedBy: "cart.shop" + domain,
		},
		"a Service is not there yet": {
			change: func(x *policy.Index) {
				x.DeleteService(cart)
				x.SetServiceSpec(cart, spec("10.0.0.1"))
				x.SetServiceSpec(host("new", "a"), spec("10.0.0.1"))
			},
		},
		"a Service comes back without a spec": {
			change: func(x *policy.Index) {
				x.DeleteService(cart)
				x.SetService(cart, nil)
			},
		},
		"a fence changes, and the spec stays": {
			change: func(x *policy.Index) {
				x.SetService(cart, fenced("none"))
				x.SetService(cart, fenced("strict"))
			}, address: "cart.shop" + domain, selectedBy: "cart.shop" + domain,
		},
		"a Service is not strict any more": {change: func(x *policy.Index) { x.SetService(cart, fenced("none")) }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := policy.NewIndex(configOf(t, "{default: strict}"))
			x.SetService(cart, nil)
			x.SetService(till, nil)
			x.SetServiceSpec(cart, spec("10.0.0.1"))
			tc.change(x)
			got, _ := x.View().StrictAddress(one, policy.Ports{})
			if diff := cmp.Diff(tc.address, got.Host); diff != "" {
				t.Errorf("address (-want +got):\n%s", diff)
			}
			got, _ = x.View().StrictSelecting("shop", map[string]string{"app": "a", "version": "v1"})
			if diff := cmp.Diff(tc.selectedBy, got.Host); diff != "" {
				t.Errorf("selected by (-want +got):\n%s", diff)
			}
		})
	}
}
