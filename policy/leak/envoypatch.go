package leak

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy/object"
)

// What EnvoyFilters patch, by its name in Istio's API.
const (
	applyToHTTPFilter      = "HTTP_FILTER"
	applyToNetworkFilter   = "NETWORK_FILTER"
	applyToListenerFilter  = "LISTENER_FILTER"
	applyToExtensionConfig = "EXTENSION_CONFIG"

	operationMerge  = "MERGE"
	operationRemove = "REMOVE"
)

// tame is a filter that sends nothing elsewhere, as long as it has none of some fields.
type tame struct {
	// merged reports whether it does so only where the patch changes the filter that istiod made.
	merged bool
	// but are the fields that route, in lower case and without underscores.
	but []string
}

// tameFilters are the filters of Envoy and Istio that choose no cluster and no address and rewrite no authority, by what
// they are for and the names of their packages. What is not here may do anything: code (Lua, Wasm, ext_proc, Golang,
// dynamic modules), proxies of other protocols, and what sets headers before the route is chosen.
func tameFilters() map[string]map[string]tame {
	http := all("adaptive_concurrency", "admission_control", "alpn", "bandwidth_limit", "basic_auth", "buffer", "compressor", "cors", "csrf",
		"decompressor", "fault", "grpc_http1_bridge", "grpc_json_transcoder", "grpc_stats", "grpc_web", "gzip", "header_to_metadata", "health_check",
		"ip_tagging", "json_to_metadata", "jwt_authn", "local_ratelimit", "oauth2", "original_src", "peer_metadata", "rate_limit", "rate_limit_quota", "ratelimit",
		"rbac", "router", "stats", "tap")
	http["ext_authz"] = tame{but: []string{"clearroutecache"}}
	network := all("connection_limit", "ext_authz", "local_ratelimit", "metadata_exchange", "mongo_proxy", "mysql_proxy", "postgres_proxy", "ratelimit",
		"rbac", "stats", "zookeeper_proxy")
	network["http_connection_manager"] = tame{merged: true, but: []string{"routeconfig", "rds", "scopedroutes", "httpfilters", "upgradeconfigs", "earlyheadermutationextensions"}}
	network["tcp_proxy"] = tame{merged: true, but: []string{"cluster", "weightedclusters", "tunnelingconfig", "ondemand", "metadatamatch"}}
	listener := all("http_inspector", "local_ratelimit", "original_src", "proxy_protocol", "tls_inspector")
	return map[string]map[string]tame{
		applyToHTTPFilter: http, applyToExtensionConfig: http, applyToNetworkFilter: network, applyToListenerFilter: listener,
	}
}

func all(names ...string) map[string]tame {
	set := make(map[string]tame, len(names))
	for _, name := range names {
		set[name] = tame{}
	}
	return set
}

// filterConfig is the part of Envoy's config of a filter that tells what it is. Istio reads it as protobuf does, with
// either spelling of a field.
type filterConfig struct {
	Snake map[string]json.RawMessage `json:"typed_config"`
	Camel map[string]json.RawMessage `json:"typedConfig"`
}

// typed returns the type of a filter, and its fields in lower case and without underscores; empty where it does not say.
func (c filterConfig) typed() (name string, fields []string) {
	config := c.Snake
	if config == nil {
		config = c.Camel
	}
	name = text(config["@type"])
	if strings.HasSuffix(name, ".TypedStruct") { // says its type inside
		if name = text(config["type_url"]); name == "" {
			name = text(config["typeUrl"])
		}
		var inside map[string]json.RawMessage
		_ = json.Unmarshal(config["value"], &inside) // one that cannot be read has no fields, and Istio drops it
		config = inside
	}
	for field := range config {
		fields = append(fields, strings.ToLower(strings.ReplaceAll(field, "_", "")))
	}
	return name[strings.LastIndexByte(name, '/')+1:], fields
}

func text(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s) // what is no text is none
	return s
}

// filterPackage returns the name of the package of a type, by which a filter is known: local_ratelimit of
// envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit. Istio's own have other packages.
func filterPackage(kind string) string {
	switch kind {
	case "stats.PluginConfig":
		return "stats"
	case "io.istio.http.peer_metadata.Config":
		return "peer_metadata"
	case "envoy.tcp.metadataexchange.config.MetadataExchange":
		return "metadata_exchange"
	}
	parts := strings.Split(kind, ".")
	i := slices.IndexFunc(parts, func(part string) bool { return part == "filters" || part == "filter" })
	if i < 0 || i+2 >= len(parts) {
		return ""
	}
	return parts[i+2]
}

// redirects reports whether a patch of an EnvoyFilter may send traffic elsewhere, and names what it changes.
func redirects(p object.EnvoyPatch) (what string, may bool) {
	filters, known := tameFilters()[p.ApplyTo]
	if !known {
		return p.ApplyTo, true
	}
	if p.Patch.Operation == operationRemove {
		return p.ApplyTo, p.ApplyTo == applyToListenerFilter // by which the protocol and the address are found
	}
	var config filterConfig
	_ = json.Unmarshal(p.Patch.Value, &config) // one that cannot be read says nothing, and Istio refuses it
	kind, fields := config.typed()
	if kind == "" {
		return p.ApplyTo + " of no type", true
	}
	filter, tamed := filters[filterPackage(kind)]
	what = p.ApplyTo + " " + kind
	switch routing := slices.IndexFunc(fields, func(field string) bool { return slices.Contains(filter.but, field) }); {
	case !tamed, filter.merged && p.Patch.Operation != operationMerge:
		return what, true
	case routing >= 0:
		return what + " with " + fields[routing], true
	}
	return "", false
}
