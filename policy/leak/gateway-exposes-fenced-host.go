package leak

import (
	"strconv"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// gatewayExposesFencedHost warns of a Gateway that lets the clients of other clusters in to a strict host: its own
// clients are kept in, but the name of the fence promises more than that [H2].
func gatewayExposesFencedHost() Rule {
	return Rule{
		ID:      "gateway-exposes-fenced-host",
		Summary: "A Gateway for other clusters should not let them in to a strict host.",
		Why: "A server with tls.mode AUTO_PASSTHROUGH lets clients of other clusters reach every host that it " +
			"covers. The fence keeps the clients of this cluster in. It does not keep those of other clusters " +
			"out.",
		Fix: "List in the Gateway the hosts that other clusters may call. Fence the host in the other clusters " +
			"too.",
		Rows:      []string{"H2"},
		Kinds:     []string{object.KindGateway},
		Severity:  Warn,
		Otherwise: "clients of other clusters reach its Pods here, unless a fence there keeps them in",
		Instead:   "list the hosts that other clusters may call",
		check: func(o Write, view *policy.View) []breach {
			var found []breach
			for i, server := range o.Gateway.Servers {
				if server.TLS == nil || server.TLS.Mode != "AUTO_PASSTHROUGH" {
					continue
				}
				for j, h := range server.Hosts {
					_, name, qualified := strings.Cut(h, "/")
					if !qualified {
						name = h
					}
					if match := view.Match(name); match.Has(policy.Strict) {
						found = append(found, breach{
							path:  []string{"spec", "servers", strconv.Itoa(i), "hosts", strconv.Itoa(j)},
							value: h,
							host:  match.Host(policy.Strict),
							must:  "not cover a strict host where tls.mode is AUTO_PASSTHROUGH",
						})
					}
				}
			}
			return found
		},
	}
}
