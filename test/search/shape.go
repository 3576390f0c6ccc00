package search

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// shapeOf says what a step is of which a rule says something, without the names of its world: where the finding is, and what
// stands in the fields that decide where traffic goes.
func (p *product) shapeOf(step Step, f leak.Finding) string {
	what := "at " + unnumbered(f.Path)
	switch {
	case step.Delete:
		return "deleted, " + what
	case step.Status:
		what = "status, " + what
	}
	values := map[string]bool{}
	p.classes(step.Object["spec"], "", step.Object.Namespace(), f, values)
	p.classes(step.Object["endpoints"], "endpoints", step.Object.Namespace(), f, values)
	if host, ok := hostname.Parse(f.Host.Host, domain); ok && host.Namespace == step.Object.Namespace() {
		what += " in the host's namespace"
	}
	return strings.Join(append([]string{p.base.Holds.String(), what}, slices.Sorted(maps.Keys(values))...), "; ")
}

// unnumbered prints a path without places in lists.
func unnumbered(path object.Path) string {
	var names []string
	for _, name := range path {
		if strings.Trim(name, "0123456789") != "" {
			names = append(names, name)
		}
	}
	return strings.Join(names, ".")
}

// telling are the fields whose values a shape has.
func telling() []string {
	return []string{
		"hosts", "host", "resolution", "protocol", "address", "addresses", "exportTo", "gateways", "bind", "mode", "subset", "workloadSelector", "selector",
		"port", "match", "egressProxy", "locality", "network",
	}
}

// classes collects what stands in the fields of a tree, each by its kind.
func (p *product) classes(node any, path, namespace string, f leak.Finding, found map[string]bool) {
	field := path[strings.LastIndex(path, ".")+1:]
	tells := slices.Contains(telling(), field)
	switch node := node.(type) {
	case []any:
		for _, v := range node {
			p.classes(v, path, namespace, f, found)
		}
	case map[string]any:
		if tells && field != "port" {
			found[path] = true
		}
		for k, v := range node {
			p.classes(v, strings.TrimPrefix(path+"."+k, "."), namespace, f, found)
		}
	case string:
		if tells {
			found[path+"="+p.class(node, namespace, f)] = true
		}
	}
}

// class says what a value is.
func (p *product) class(value, namespace string, f leak.Finding) string {
	fqdn := hostname.Resolve(value, namespace, domain)
	switch address, err := netip.ParseAddr(value); {
	case strings.ToUpper(value) == value && strings.ToLower(value) != value: // of an enumeration
		return value
	case strings.Contains(value, "/"):
		return "network"
	case err == nil && strings.HasPrefix(value, "10.96."):
		return "address of a Service"
	case err == nil:
		return "address in " + clusterOf(address)
	case slices.Contains(f.Host.Hosts(), fqdn):
		return "the host"
	case strings.Contains(value, "*"):
		return "wildcard"
	case slices.Contains(p.strict(), fqdn):
		return "a strict host"
	case strings.HasSuffix(fqdn, "."+domain):
		return "a host of the cluster"
	}
	return "another"
}

// clusterOf names the cluster of an address.
func clusterOf(a netip.Addr) string {
	for prefix, cluster := range addresses() {
		if prefix.Contains(a) {
			return cluster
		}
	}
	return "no cluster"
}

// maxShapes is how many shapes of a rule are printed.
const maxShapes = 8

// shapes prints what was harmless by rule and by shape, what came most often first.
func shapes(of map[string]map[string]int) string {
	var b strings.Builder
	for _, rule := range slices.Sorted(maps.Keys(of)) {
		counts := of[rule]
		list := slices.SortedFunc(maps.Keys(counts), func(x, y string) int {
			if counts[x] != counts[y] {
				return counts[y] - counts[x]
			}
			return strings.Compare(x, y)
		})
		fmt.Fprintf(&b, "harmless, of %s: %d shapes\n", rule, len(list))
		for _, shape := range list[:min(len(list), maxShapes)] {
			fmt.Fprintf(&b, "  %4d %s\n", counts[shape], shape)
		}
	}
	return b.String()
}
