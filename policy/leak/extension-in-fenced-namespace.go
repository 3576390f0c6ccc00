package leak

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// extensionInFencedNamespace warns of a WasmPlugin or TrafficExtension beside a strict Service, or in the root namespace,
// where it is for every workload: its code sees requests before they are routed, and may change for whom they are [J].
// Code that runs only for what arrives at a workload routes nothing.
func extensionInFencedNamespace() Rule {
	return Rule{
		ID: "extension-in-fenced-namespace",
		Summary: "A WasmPlugin or TrafficExtension beside a strict Service, or in the root namespace, should not run " +
			"for what clients send.",
		Why: "Its code sees requests before they are routed. It may change the authority or a header that a route " +
			"matches, and so send a request to another host. Code that runs for arriving requests alone routes " +
			"nothing.",
		Fix: "See that it changes no authority and no header that routes match, or have it match mode SERVER " +
			"alone.",
		Rows:      []string{"J"},
		Kinds:     []string{object.KindWasmPlugin, object.KindTrafficExtension},
		Severity:  Warn,
		Otherwise: "its code may send that host's requests to any other that the client knows, without being noticed",
		Instead:   "see that it changes no authority and no header that routes match, or have it match mode SERVER alone",
		check: func(o Write, view *policy.View) []breach {
			if !o.Extension.Outbound() {
				return nil
			}
			host, where, strict := besideStrict(o.Object, view)
			if !strict {
				return nil
			}
			return []breach{{
				path: []string{"spec", "match"}, host: host, must: "not run for what clients send in " + where,
			}}
		},
	}
}
