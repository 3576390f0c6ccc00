package leak

import "github.com/meshfence/meshfence/policy"

// anyHold is the set of all holds.
const anyHold = policy.Holds(policy.MeshConfig | policy.Locality | policy.Subset)

// nothingInjected are the rows A: nothing or too little is injected.
func nothingInjected() []Row {
	return []Row{
		{ID: "A1", What: "a Service without DestinationRule and VirtualService is one pool over all clusters", Stops: policy.HoldsOf(policy.MeshConfig), Repairs: policy.HoldsOf(policy.Locality, policy.Subset)},
		{ID: "A2", What: "routes lead to no subset of a fenced DestinationRule", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "A3", What: "a VirtualService has only http routes, and TCP and TLS ports take no subset", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "A4", What: "a cluster is named by itself: extension providers, Telemetry, JWKS, rate limits", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Reason: "no route leads there, so that hold subset alone cannot keep it", Shown: []string{"test/xds TestVerify/access-log"}},
		{ID: "A5", What: "Ingress and Gateway API routes know no subsets", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality)},
		{ID: "A6", What: "the fence is set in one cluster alone, and the istiod of another still sends its clients here", Reason: "another cluster's API server: install meshfence there too; meshfence doctor with a --context for each compares them"},
	}
}

// destinationRuleRows are the rows B.
func destinationRuleRows() []Row {
	return []Row{
		{ID: "B1", What: "a DestinationRule in the client's namespace replaces that of the Service", Stops: policy.HoldsOf(policy.MeshConfig), Repairs: policy.HoldsOf(policy.Locality, policy.Subset)},
		{ID: "B2", What: "a private DestinationRule in the root namespace wins for gateways there", Stops: policy.HoldsOf(policy.MeshConfig), Repairs: policy.HoldsOf(policy.Locality, policy.Subset)},
		{ID: "B3", What: "a DestinationRule is exported to some namespaces, and the others have none", Stops: policy.HoldsOf(policy.MeshConfig, policy.Subset)},
		{ID: "B4", What: "of two DestinationRules for a host the older one wins", Stops: policy.HoldsOf(policy.MeshConfig), Repairs: policy.HoldsOf(policy.Locality, policy.Subset)},
		{ID: "B5", What: "a DestinationRule exported elsewhere replaces or swallows another one", Stops: policy.HoldsOf(policy.MeshConfig, policy.Subset)},
		{ID: "B6", What: "a DestinationRule with workloadSelector replaces the fence for the workloads that it selects, and hides it from the others of its namespace", Stops: policy.HoldsOf(policy.MeshConfig), Repairs: policy.HoldsOf(policy.Locality, policy.Subset)},
		{ID: "B7", What: "a rule for one host hides a wildcard, and a wildcard cannot fence some of its hosts alone", Stops: policy.HoldsOf(policy.MeshConfig)},
		{ID: "B8", What: "a subset has no cluster label, or that of another cluster", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "B9", What: "portLevelSettings drop the distribute for their port", Stops: policy.HoldsOf(policy.MeshConfig, policy.Subset), Repairs: policy.HoldsOf(policy.Locality)},
		{ID: "B10", What: "a subset's trafficPolicy drops the distribute", Stops: policy.HoldsOf(policy.MeshConfig, policy.Subset), Repairs: policy.HoldsOf(policy.Locality)},
		{ID: "B11", What: "failover, zoneAwareLbSetting or enabled: false are set against the distribute", Stops: policy.HoldsOf(policy.MeshConfig, policy.Subset), Repairs: policy.HoldsOf(policy.Locality)},
		{ID: "B12", What: "loadBalancer.simple: PASSTHROUGH lets the client choose any address"},
		{ID: "B13", What: "trafficPolicy.tunnel sends the traffic to another target"},
		{ID: "B14", What: "the fence is deleted, or istiod does not read it any more because of its istio.io/rev label", Stops: policy.HoldsOf(policy.MeshConfig)},
		{ID: "B15", What: "a BackendTLSPolicy for one port makes portLevelSettings, which drop the distribute", Stops: policy.HoldsOf(policy.MeshConfig, policy.Subset)},
		{ID: "B16", What: "a DestinationRule is for another name of the same workloads", Reason: "another name has endpoints of its own, which D4 and G2 are about; a DestinationRule adds none", Harmless: true},
		{ID: "B17", What: "with several control plane clusters a constant cluster label sends clients to one of them", Stops: policy.HoldsOf(policy.MeshConfig), Reason: "the FenceConfig is refused", Shown: []string{"policy TestParseConfigProblems"}},
		{ID: "B18", What: "somebody else takes the name of a companion, or changes one", Stops: policy.HoldsOf(policy.MeshConfig), Repairs: policy.HoldsOf(policy.Locality, policy.Subset)},
		{ID: "B19", What: "an XBackendTrafficPolicy sets how requests are balanced and retried", Reason: "istiod merges it under the rule of the host, whose own fields win", Harmless: true},
	}
}

// virtualServiceRows are the rows C.
func virtualServiceRows() []Row {
	return []Row{
		{ID: "C1", What: "a destination names no subset", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "C2", What: "a destination names a subset of another cluster", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "C3", What: "a VirtualService sends a host's requests to another host"},
		{ID: "C4", What: "a mirror copies requests to another host"},
		{ID: "C5", What: "a delegate carries the routes"},
		{ID: "C6", What: "tcp and tls routes name no subset", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "C7", What: "a VirtualService elsewhere takes over a host's requests", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "C8", What: "sourceLabels beside gateways are ignored", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "C9", What: "no route is for the client, and the default route names no subset", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "C10", What: "waypoints drop every route with sourceLabels", Reason: "nothing of meshfence rests on sourceLabels", Harmless: true},
		{ID: "C11", What: "a redirect, or another authority beyond a gateway, by rewrite or header, sends the client elsewhere"},
		{ID: "C12", What: "retryRemoteLocalities", Reason: "it chooses among the endpoints that the holds leave", Harmless: true},
		{ID: "C13", What: "a VirtualService is bound to a gateway", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Repairs: policy.HoldsOf(policy.Subset)},
		{ID: "C14", What: "a VirtualService is for the ClusterIP of a Service, which clients may send as Host"},
		{ID: "C15", What: "a VirtualService sends a host's requests to another strict one, which workloads from elsewhere join"},
		{ID: "C16", What: "the strict host to which a VirtualService sends the requests of another is loosened later"},
		{ID: "C17", What: "the strict host to which a VirtualService sends the requests of another has a Gateway or a Sidecar on its Pods by which these send them on"},
	}
}

// serviceEntryRows are the rows D.
func serviceEntryRows() []Row {
	return []Row{
		{ID: "D1", What: "a ServiceEntry in a host's namespace adds endpoints to it, which count as local"},
		{ID: "D2", What: "a ServiceEntry in the client's namespace replaces the host"},
		{ID: "D3", What: "a Sidecar imports a ServiceEntry that claims the host"},
		{ID: "D4", What: "a ServiceEntry selects a Service's Pods, of all clusters"},
		{ID: "D5", What: "a WorkloadEntry with the labels of a Service joins it with any address"},
		{ID: "D6", What: "an endpoint in another network stands for a gateway there"},
		{ID: "D7", What: "an endpoint claims a locality that it is not in", Stops: policy.HoldsOf(policy.MeshConfig, policy.Subset)},
		{ID: "D8", What: "a ServiceEntry claims a Service's ClusterIP"},
		{ID: "D9", What: "a ServiceEntry with a wildcard covers a host"},
		{ID: "D10", What: "a ServiceEntry leads to an east-west gateway, and a DestinationRule asks for the host there", Reason: "the client asks for that other host itself; no request for the fenced one moves", Harmless: true},
		{ID: "D11", What: "a WorkloadEntry of a remote cluster", Reason: "istiod labels it with the id of its cluster, which every hold tells apart", Harmless: true},
		{ID: "D12", What: "a TCP ServiceEntry without an address, on a port of HTTP of the host: what is no HTTP goes there"},
		{ID: "D13", What: "the status of a ServiceEntry carries the ClusterIP of a Service"},
		{ID: "D14", What: "a strict Service changes so that an existing object joins it or catches what is for it", Shown: []string{"policy/leak TestChangedService"}},
		{ID: "D15", What: "a ServiceEntry has a name to which the DNS search list of clients comes before that of the host, whom they do not know or ask for by its full name"},
		{ID: "D16", What: "a wildcard covers a short name of a host that clients know: requests with a closing dot, and TLS on a port of HTTP, go there"},
		{ID: "D17", What: "exportTo of a ServiceEntry", Reason: "it narrows who knows the hosts, and those who do are judged", Harmless: true},
		{ID: "D18", What: "a ServiceEntry or VirtualService has the address or a name of a Pod of a headless Service"},
	}
}

// workloadRows are the rows E.
func workloadRows() []Row {
	return []Row{
		{ID: "E1", What: "a Service without selector has endpoints that users write", Stops: policy.HoldsOf(policy.Locality)},
		{ID: "E2", What: "a hand-written EndpointSlice adds endpoints, which count as local"},
		{ID: "E3", What: "a Service is but another name for something else"},
		{ID: "E4", What: "a headless Service: sidecars see the Pods of all clusters", Reason: "no hold reaches what a sidecar does with original addresses"},
		{ID: "E5", What: "the Service is missing here and exists in another cluster", Stops: policy.HoldsOf(policy.MeshConfig), Reason: "there is no object to judge: name it in scope.services, and its companions hold it without a Service; or keep a Service without Pods, or a DestinationRule and, for subset, a VirtualService of it"},
		{ID: "E6", What: "a Pod claims another network and stands for a gateway there"},
		{ID: "E7", What: "a Pod claims a locality that it is not in", Stops: policy.HoldsOf(policy.MeshConfig, policy.Subset)},
		{ID: "E8", What: "a Pod has a cluster label of its own", Reason: "istiod overwrites it", Harmless: true},
		{ID: "E9", What: "trafficDistribution", Reason: "it beats a mesh-wide distribute alone, and meshfence puts it into DestinationRules", Harmless: true},
		{ID: "E10", What: "internalTrafficPolicy, and the exportTo annotation of a Service", Reason: "the one narrows further, and the other by itself leads to the ClusterIP, which is local, unless something else takes what is for it (I6, I8, I9)", Harmless: true},
		{ID: "E11", What: "an ingress gateway sends to a waypoint before any subset or locality counts", Stops: policy.HoldsOf(policy.MeshConfig)},
		{ID: "E12a", What: "the label istio.io/global makes a Service global in ambient mode"},
		{ID: "E12b", What: "the label on the remote Service attaches its Pods", Shown: []string{"policy/leak TestFixtures/service-global-label"}},
		{ID: "E12c", What: "a local Service behind a global waypoint", Shown: []string{"policy/leak TestFixtures/service-global-label"}},
		{ID: "E13", What: "a Service with a network label and an external address is a gateway of that network", Reason: "that of another network stands for endpoints of that one alone, of which a strict host has none here; that of this one is E19", Harmless: true},
		{ID: "E14", What: "a fence comes over objects that existed before", Repairs: anyHold},
		{ID: "E15", What: "a network below Istio makes the Service global"},
		{ID: "E16", What: "persistent sessions", Reason: "they choose among the endpoints that the holds leave", Harmless: true},
		{ID: "E17", What: "a Service is deleted here, and other clusters still have it", Reason: "its companions go with it, unless scope.services names it, and clients with DNS capture reach the others"},
		{ID: "E18", What: "labels come in through the status of a Pod, a Service or a Namespace"},
		{ID: "E19", What: "a Service or Gateway with the label of this cluster's own network makes hand-written addresses its gateway"},
		{ID: "E20", What: "the label of Istio's namespace says that this cluster is in another network", Shown: []string{"policy/leak TestFixtures/pod-foreign-network"}},
	}
}

// meshConfigRows are the rows F.
func meshConfigRows() []Row {
	return []Row{
		{ID: "F1", What: "clusterLocal: false, more specific or later, in the mesh config", Stops: policy.HoldsOf(policy.Locality, policy.Subset), Repairs: policy.HoldsOf(policy.MeshConfig)},
		{ID: "F2", What: "serviceSettings of the first mesh ConfigMap discard those of the shared one", Stops: policy.HoldsOf(policy.Locality, policy.Subset), Repairs: policy.HoldsOf(policy.MeshConfig)},
		{ID: "F3", What: "the clusterset.local name is not listed", Reason: "without a ServiceExport, which is refused (G1), that name has no endpoints", Harmless: true},
		{ID: "F4", What: "defaultDestinationRuleExportTo hides DestinationRules that say nothing themselves", Stops: policy.HoldsOf(policy.MeshConfig), Reason: "companions say exportTo themselves; a user's DestinationRule must too"},
		{ID: "F5", What: "mesh-wide localityLbSetting", Reason: "DestinationRules go before it", Harmless: true},
		{ID: "F6", What: "serviceScopeConfigs of ambient mode", Reason: "no hold rests on them; the label that they read is refused (E12a)", Harmless: true},
		{ID: "F7", What: "extensionProviders that name a host", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Reason: "as A4", Shown: []string{"test/xds TestVerify/access-log"}},
		{ID: "F8", What: "DNS capture, by which a sidecar reaches the Pods of a headless Service", Reason: "as E4"},
		{ID: "F9", What: "meshNetworks give the Pods of this cluster another network", Reason: "the mesh config says what network this cluster is; nobody else can know better"},
		{ID: "F10", What: "istiod exports every Service by itself"},
		{ID: "F11", What: "discoverySelectors", Reason: "no hold rests on them", Harmless: true},
	}
}

// multiclusterRows are the rows G.
func multiclusterRows() []Row {
	return []Row{
		{ID: "G1", What: "a ServiceExport makes the Service known everywhere"},
		{ID: "G2", What: "the client asks for the clusterset.local name", Reason: "istiod knows that name only with ENABLE_MCS_HOST, which is off by default; no fence covers it, and its endpoints are those of clusters that have a ServiceExport, which is refused here (G1)"},
		{ID: "G3", What: "a route leads to a ServiceImport"},
		{ID: "G4", What: "gateways of a network are shared by its clusters", Reason: "a mesh of several networks needs a network for each cluster"},
	}
}

// gatewayRows are the rows H.
func gatewayRows() []Row {
	return []Row{
		{ID: "H1", What: "a client that does not say its network goes through the east-west gateway", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality), Reason: "the gateway takes no subset, so that hold subset alone cannot keep it", Shown: []string{"test/xds TestVerify/mesh-config"}},
		{ID: "H2", What: "an AUTO_PASSTHROUGH gateway lets other clusters in"},
		{ID: "H3", What: "a Gateway API east-west gateway lets other clusters in", Reason: "what comes in from other clusters is for the fence of the client's cluster"},
		{ID: "H4", What: "a Gateway of class istio-remote makes gateways of a network", Reason: "as G4"},
		{ID: "H5", What: "a VirtualService on an east-west gateway is for the server name by which other clusters ask for the host, or for any"},
	}
}

// otherRows are the rows I to L.
func otherRows() []Row {
	return []Row{
		{ID: "I1", What: "a Sidecar imports a ServiceEntry for the host", Reason: "the ServiceEntry is refused (D3)"},
		{ID: "I2", What: "a Sidecar does not import the host", Reason: "by itself: requests go to the ClusterIP, which is local, unless something else takes them (I5, I8, I9, I11)", Harmless: true},
		{ID: "I3", What: "egressProxy sends traffic for unknown hosts to the host itself, without a subset; to another host see I5 to I7", Stops: policy.HoldsOf(policy.MeshConfig, policy.Locality)},
		{ID: "I4", What: "defaultEndpoint of a Sidecar", Reason: "it can only be the instance itself; where its own proxy listens there see C17", Harmless: true},
		{ID: "I5", What: "a Sidecar does not import the host, and its egressProxy is not strict"},
		{ID: "I6", What: "the Service is not exported to clients whose egressProxy is not strict", Reason: "by its annotation; defaultServiceExportTo of the mesh config is not read"},
		{ID: "I7", What: "an egressProxy that is not strict: what is no HTTP on a port of HTTP goes there, and requests for a name that is not the host's, and TLS for one that no route has"},
		{ID: "I8", What: "a Sidecar does not import the host, or the Service is not exported, and a TCP ServiceEntry without an address takes every address of the port"},
		{ID: "I9", What: "a Sidecar does not import the host, or the Service is not exported, and a wildcard covers a short name of it"},
		{ID: "I10", What: "a Sidecar binds a listener to the ClusterIP of a Service, to the address of a Pod of a headless one, or to every address"},
		{ID: "I11", What: "a Sidecar has a listener of its own for a port of the host, with a ServiceEntry without an address"},
		{ID: "J", What: "an EnvoyFilter, or code in proxies, can change anything", Reason: "what it does cannot be told from it"},
		{ID: "K1", What: "a proxy claims another cluster", Reason: "who runs a proxy by hand can say anything; where the injector's URL names no cluster, so can a Pod or a ProxyConfig"},
		{ID: "K2", What: "a client without a proxy", Reason: "Istio has no part in it; a NetworkPolicy can have"},
		{ID: "K3", What: "an application that finds addresses by itself", Reason: "Istio has no part in it"},
		{ID: "L1", What: "objects from before the installation, or from an outage", Reason: "the backfill fixes what can be fixed, and the audit finds the rest", Shown: []string{"test/e2e TestBackfill", "test/e2e TestAudit"}},
		{ID: "L2", What: "a webhook for CREATE alone", Reason: "UPDATE is taken too", Harmless: true, Shown: []string{"test/manifests TestRoutes"}},
		{ID: "L3", What: "clients of other API versions", Reason: "every version is taken", Harmless: true, Shown: []string{"test/e2e TestDestinationRuleIsFencedWhereverItStands"}},
		{ID: "L4", What: "objects of another cluster's API server", Reason: "install meshfence there too"},
		{ID: "L5", What: "another webhook changes the object later", Reason: "validation sees the final object", Harmless: true, Shown: []string{"policy/leak TestFixtures/destinationrule-unfenced"}},
		{ID: "L6", What: "an istiod revision that does not read our objects", Reason: "companions have no istio.io/rev label, and rules of strict hosts may not have one"},
		{ID: "L7", What: "objects that istiod makes from others", Reason: "what they are made of is judged (A5, B15)", Harmless: true},
		{ID: "L8", What: "istioctl analyze complains of cluster labels", Reason: "its message is suppressed", Harmless: true, Shown: []string{"policy/inject TestObject"}},
		{ID: "L9", What: "a label on the writer's Namespace softens what becomes of what it does to the hosts of others", Reason: "the Namespaces of the hosts decide", Harmless: true, Shown: []string{"policy/leak TestEnforcementIsThatOfTheHost", "test/conformance TestConformance"}},
	}
}
