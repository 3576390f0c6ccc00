package policy

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// aliasOf returns the host for which a Service is but another name, as Istio and DNS compare names; empty for any other
// Service.
func aliasOf(spec object.ServiceSpec) string {
	if spec.Type != string(corev1.ServiceTypeExternalName) {
		return ""
	}
	return strings.ToLower(strings.TrimSuffix(spec.ExternalName, "."))
}

// setAlias notes for which host a Service is another name, which it may have been for a different one. The lock of the
// index is held.
func (x *Index) setAlias(host hostname.Host, old, now string) {
	if old == now {
		return
	}
	if delete(x.aliases[old], host); len(x.aliases[old]) == 0 {
		delete(x.aliases, old)
	}
	if now == "" {
		return
	}
	if x.aliases == nil {
		x.aliases = map[string]map[hostname.Host]bool{}
	}
	if x.aliases[now] == nil {
		x.aliases[now] = map[hostname.Host]bool{}
	}
	x.aliases[now][host] = true
}

// Aliases returns the Services that are but another name for a host, sorted.
func (v *View) Aliases(fqdn string) []hostname.Host {
	v.index.mu.RLock()
	defer v.index.mu.RUnlock()
	var hosts []hostname.Host
	for h := range v.index.aliases[fqdn] {
		if !v.told(h) {
			hosts = append(hosts, h)
		}
	}
	for h, b := range v.backends {
		if b.alias == fqdn {
			hosts = append(hosts, h)
		}
	}
	slices.SortFunc(hosts, hostname.Host.Compare)
	return hosts
}
