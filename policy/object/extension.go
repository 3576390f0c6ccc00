package object

import "slices"

const extensionGroup = "extensions.istio.io"

// Extension is the part of an extensions.istio.io WasmPlugin or TrafficExtension that is read: code that runs in
// proxies.
type Extension struct {
	Match []ExtensionMatch `json:"match"`
}

// ExtensionMatch says for which traffic the code runs.
type ExtensionMatch struct {
	Mode string `json:"mode"`
}

// serverMode is the mode of what arrives at a workload.
const serverMode = "SERVER"

// Outbound reports whether the code runs for what workloads or gateways send. Without a match it runs for everything
// (matchListenerClass in Istio's pilot/pkg/model/extensions.go).
func (e *Extension) Outbound() bool {
	return len(e.Match) == 0 || slices.ContainsFunc(e.Match, func(m ExtensionMatch) bool { return m.Mode != serverMode })
}
