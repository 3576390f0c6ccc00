package leak

import (
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// sidecarBindTakesServiceIP refuses a listener of a Sidecar on the ClusterIP of a strict Service that has other hosts
// than strict ones [I10].
func sidecarBindTakesServiceIP() Rule {
	return Rule{
		ID:       "sidecar-bind-takes-service-ip",
		Rows:     []string{"I10"},
		Kinds:    []string{policy.KindSidecar},
		Severity: Deny,
		Leaks:    "what clients send to that address goes to the hosts of this listener",
		Mend:     "bind to another address, or let the listener have strict hosts alone",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			for i, e := range o.Sidecar.Egress {
				address, ok := policy.Network(e.Bind)
				if !ok || importsStrict(e.Hosts, view) {
					continue
				}
				ports := policy.Ports{}
				if e.Port != nil {
					ports = on(e.Port.Number)
				}
				if host, strict := view.StrictAddress(address, ports); strict {
					found = append(found, breach{
						path:  []string{"spec", "egress", strconv.Itoa(i), "bind"},
						value: e.Bind,
						host:  host,
						must:  "not be the ClusterIP of a strict Service",
					})
				}
			}
			return found
		},
	}
}

// importsStrict reports whether a listener imports strict hosts alone. A wildcard for names outside of the cluster
// domain has others.
func importsStrict(hosts []string, view *policy.View) bool {
	for _, text := range hosts {
		_, name, _ := strings.Cut(text, "/")
		suffix, wildcard := policy.Wildcard(name)
		if wildcard && !strings.HasSuffix(suffix, ".svc."+view.Config().ClusterDomain) {
			return false
		}
		if match := view.Match(name); !match.Only(policy.Strict) {
			return false
		}
	}
	return true
}
