package hostname

import "strings"

// Searched returns the Service that a client asks for when its DNS search list builds that name from one of the
// Service's names, before it comes to the right one: <name>.<namespace>.<label>, <name>.<namespace>.svc.<label> and
// <name>.<namespace>.svc, each with .svc.<domain>, and the FQDN with .<label>.svc.<domain>, .svc.<domain> or .<domain>.
func Searched(name, domain string) (Host, bool) {
	name = Canonical(name)
	rest, ok := strings.CutSuffix(name, "."+domain)
	if !ok {
		return Host{}, false
	}
	if host, ok := Parse(rest, domain); ok {
		return host, true
	}
	if rest, ok = strings.CutSuffix(rest, ".svc"); !ok {
		return Host{}, false
	}
	if host, ok := Parse(rest, domain); ok {
		return host, true
	}
	rest, label := CutLast(rest)
	if host, ok := Parse(rest, domain); ok && IsLabel(label) {
		return host, true
	}
	service, namespace, _ := strings.Cut(strings.TrimSuffix(rest, ".svc"), ".")
	return Host{Namespace: namespace, Name: service}, IsLabel(service) && IsLabel(namespace) && IsLabel(label)
}

// SearchedUnder returns a wildcard for the Services that clients ask for when their DNS search list builds a name that a
// wildcard covers, and their Namespace, which is empty where they are those of any; see [Searched]. Those that it covers
// by their own names do not count.
func SearchedUnder(wildcard, domain string) (services, namespace string, ok bool) {
	suffix, _ := Wildcard(Canonical(wildcard))
	rest, inside := strings.CutSuffix(suffix, "."+domain)
	if !inside || !strings.HasPrefix(suffix, ".") { // a sidecar looks for whole labels
		return "", "", false
	}
	if services, namespace, ok = searchedEnd(rest, domain, false); ok {
		return services, namespace, true
	}
	rest, inside = strings.CutSuffix(rest, ".svc")
	if !inside {
		return "", "", false
	}
	if services, namespace, ok = searchedEnd(rest, domain, strings.HasSuffix(rest, ".svc")); ok {
		return services, namespace, true
	}
	rest, _ = CutLast(rest)
	return searchedEnd(rest, domain, true)
}

// SearchDomain returns the Namespace whose clients begin with a search domain all of whose names a wildcard covers.
func SearchDomain(wildcard, domain string) (namespace string, ok bool) {
	suffix, _ := Wildcard(Canonical(wildcard))
	rest, inside := strings.CutSuffix(suffix, ".svc."+domain)
	namespace, whole := strings.CutPrefix(rest, ".")
	return namespace, inside && whole && IsLabel(namespace)
}

// searchedEnd does so for the Services whose full names end so, and where short ones count too, those.
func searchedEnd(end, domain string, short bool) (services, namespace string, ok bool) {
	every := ".svc." + domain
	head, full := strings.CutSuffix(end, every)
	switch {
	case end == "" || !full && !short && !strings.HasSuffix(every, end):
		return "", "", false
	case strings.HasSuffix(every, end), short && end == ".svc":
		return "*" + every, "", true
	case !full:
		head = strings.TrimSuffix(end, ".svc")
	}
	name, namespace := CutLast(head)
	return "*" + head + every, namespace, IsLabel(namespace) && !strings.Contains(name, ".")
}
