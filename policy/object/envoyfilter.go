package object

import "encoding/json"

// EnvoyFilter is the part of an EnvoyFilter that is read.
type EnvoyFilter struct {
	ConfigPatches []EnvoyPatch `json:"configPatches"`
}

// EnvoyPatch is one change of what istiod sends.
type EnvoyPatch struct {
	// ApplyTo is the kind of what is changed.
	ApplyTo string `json:"applyTo"`
	Patch   struct {
		Operation string `json:"operation"`
		// Value is Envoy's own config.
		Value json.RawMessage `json:"value"`
	} `json:"patch"`
}
