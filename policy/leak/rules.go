package leak

// Rules returns every rule, one constructor a line. A new rule is a file with its constructor, a file of
// cases of the same name in testdata, and a line here.
func Rules() []Rule {
	return []Rule{
		serviceInvalidFence(),
		serviceFenceOnOwned(),
		serviceExternalName(),
		serviceWithoutSelector(),
		serviceWithoutLocality(),
		serviceHeadless(),
		serviceGlobalLabel(),
		serviceIngressWaypoint(),
		serviceForeignMeshAnnotation(),
		serviceNetworkGateway(),
		serviceDeleted(),
		serviceLoosenedDestination(),
		destinationRuleForeignSubset(),
		destinationRulePassthrough(),
		destinationRuleTunnel(),
		destinationRuleLocalityOverride(),
		destinationRuleExport(),
		destinationRuleWildcardMixed(),
		destinationRuleUnfenced(),
		destinationRulePreferIdle(),
		destinationRuleDistributeEmpty(),
		companionRemoved(),
		revisionHidesFence(),
		companionNameReserved(),
		virtualServiceForeignSubset(),
		virtualServiceForeignHost(),
		virtualServiceMirror(),
		virtualServiceShadowsFence(),
		virtualServiceSourceLabels(),
		virtualServiceRedirect(),
		routeRedirect(),
		routeWithoutEndpoint(),
		virtualServiceOpensEntry(),
		virtualServiceTakesServerNames(),
		nameTakesHeadlessPod(),
		serviceEntryFencedHost(),
		serviceEntryPreferHost(),
		serviceEntrySelectsFencedPods(),
		serviceEntryServiceIP(),
		networkOfTLSHidesHost(),
		serviceEntryTakesHiddenHost(),
		serviceEntryTakesHTTPPort(),
		wildcardTakesHiddenHost(),
		wildcardTakesShortName(),
		serviceEntryForeignNetwork(),
		workloadEntryJoinsFencedService(),
		endpointSliceForeignWriter(),
		podForeignNetwork(),
		podLocality(),
		podForeignCluster(),
		proxyConfigForeignCluster(),
		meshConfigClusterLocalRemoved(),
		serviceExportFenced(),
		routeBypassesSubset(),
		routeForeignBackend(),
		gatewayExposesFencedHost(),
		gatewayOnStrictDestination(),
		sidecarOnStrictDestination(),
		sidecarEgressProxy(),
		sidecarEgressProxyTakesHiddenHost(),
		sidecarEgressProxyTakesTCP(),
		sidecarBindTakesServiceIP(),
		sidecarPortTakesHost(),
		sidecarRemovedHidesHost(),
		backendPolicyDropsLocality(),
		envoyFilterInFencedNamespace(),
		extensionInFencedNamespace(),
		namespaceFenceLoosened(),
		injectionTakenOut(),
		namespaceLoosenedDestination(),
	}
}

// IDs lists the ids of the rules.
func IDs(rules []Rule) []string {
	ids := make([]string, len(rules))
	for i, r := range rules {
		ids[i] = r.ID
	}
	return ids
}
