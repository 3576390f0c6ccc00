package meshconfig

import (
	"slices"

	"github.com/meshfence/meshfence/policy"
)

// Lacks lists the strict hosts and wildcards that a mesh config does not keep in the client's cluster: first what
// the scope wants and it does not say, then what it says against it. An entry that is missing for a host that is
// not strict lets nothing out.
func (c ClusterLocal) Lacks(view *policy.View) []string {
	want := view.ClusterLocal()
	wanted := newClusterLocal(len(want))
	var lacks []string
	for _, e := range want {
		wanted.set(e.Host, e.Local)
		if e.Local && !c.Has(e.Host) {
			lacks = append(lacks, e.Host)
		}
	}
	if len(want) == 0 {
		return nil
	}
	for _, host := range c.looser() {
		by, local, ok := wanted.match(host)
		if !ok || !local || by == host || leftToIstio(host, by, view.Config().ClusterDomain) {
			continue
		}
		if match := view.Match(host); match.Has(policy.Strict) {
			lacks = append(lacks, host)
		}
	}
	return lacks
}

// looser lists what the mesh config says to be not local, sorted.
func (c ClusterLocal) looser() []string {
	var hosts []string
	for host, local := range c.exact {
		if !local {
			hosts = append(hosts, host)
		}
	}
	for suffix, local := range c.suffixes {
		if !local {
			hosts = append(hosts, "*"+suffix)
		}
	}
	slices.Sort(hosts)
	return hosts
}
