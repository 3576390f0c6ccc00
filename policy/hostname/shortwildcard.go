package hostname

import "strings"

// ShortWildcard returns the suffix of a wildcard that may cover <name>.<namespace> or <name>.<namespace>.svc of
// Services; ok is false for every other host.
func ShortWildcard(host string) (suffix string, ok bool) {
	suffix, ok = Wildcard(Canonical(host))
	if !ok || !strings.Contains(suffix, ".") {
		return "", false
	}
	rest, namespace := CutLast(strings.TrimSuffix(suffix, ".svc"))
	if suffix != ".svc" && (!IsLabel(namespace) || strings.Contains(rest, ".")) {
		return "", false
	}
	return suffix, true
}

// CutLast cuts off what follows the last dot.
func CutLast(text string) (rest, last string) {
	dot := strings.LastIndexByte(text, '.')
	return text[:max(dot, 0)], text[dot+1:]
}
