package policy

import "strings"

// Host is the name of a Service inside its cluster domain.
type Host struct {
	Namespace, Name string
}

// FQDN returns <name>.<namespace>.svc.<domain>.
func (h Host) FQDN(domain string) string {
	return h.Name + "." + h.Namespace + ".svc." + domain
}

// Resolve turns a host as it is written in an Istio object into the name that Istio compares: a name
// without a dot belongs to the object's namespace, any other is taken as it is
// (ResolveShortnameToFQDN in Istio's pilot/pkg/model/config.go).
func Resolve(host, namespace, domain string) string {
	if host == "" || host == "*" || strings.ContainsAny(host, ".:") {
		return host
	}
	return Host{Namespace: namespace, Name: host}.FQDN(domain)
}

// ParseHost splits <name>.<namespace>.svc.<domain>; ok is false for every other name.
func ParseHost(fqdn, domain string) (host Host, ok bool) {
	rest, found := strings.CutSuffix(fqdn, ".svc."+domain)
	if !found {
		return Host{}, false
	}
	name, namespace, found := strings.Cut(rest, ".")
	if !found || name == "" || namespace == "" || strings.Contains(namespace, ".") || strings.HasPrefix(name, "*") {
		return Host{}, false
	}
	return Host{Namespace: namespace, Name: name}, true
}

// Wildcard returns the suffix that a wildcard host stands for; ok is false for an exact host.
func Wildcard(host string) (suffix string, ok bool) { return strings.CutPrefix(host, "*") }
