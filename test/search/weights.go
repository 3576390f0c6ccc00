package search

import "google.golang.org/protobuf/reflect/protoreflect"

// weight returns how often a field is set: more often the more istiod makes of it for clients.
func weight(f protoreflect.FieldDescriptor, depth int) float64 {
	name := string(f.ContainingMessage().Name()) + "." + string(f.Name())
	if w, ok := weights()[name]; ok {
		return w
	}
	if depth > 3 {
		return 0.02
	}
	return 0.05
}

// weights are those of the fields that are set more often than others, as <message>.<field>.
func weights() map[string]float64 {
	return weightTable
}

//nolint:gochecknoglobals // a table that nothing writes
var weightTable = map[string]float64{
	"ServiceEntry.hosts": 1, "ServiceEntry.ports": 1, "ServiceEntry.resolution": 1, "ServiceEntry.location": 0.6,
	"ServiceEntry.endpoints": 0.8, "ServiceEntry.addresses": 0.3, "ServiceEntry.export_to": 0.25, "ServiceEntry.workload_selector": 0.12,
	"ServicePort.number": 1, "ServicePort.name": 1, "ServicePort.protocol": 1, "ServicePort.target_port": 0.1,
	"WorkloadEntry.address": 1, "WorkloadEntry.labels": 0.6, "WorkloadEntry.locality": 0.35, "WorkloadEntry.network": 0.1, "WorkloadEntry.ports": 0.1, "WorkloadEntry.weight": 0.1,
	"WorkloadGroup.template": 1, "WorkloadGroup.metadata": 0.7, "ObjectMeta.labels": 0.9,
	"Sidecar.egress": 0.8, "Sidecar.outbound_traffic_policy": 0.4, "Sidecar.workload_selector": 0.15,
	"IstioEgressListener.hosts": 1, "IstioEgressListener.port": 0.3, "IstioEgressListener.bind": 0.25,
	"SidecarPort.number": 1, "SidecarPort.protocol": 1, "SidecarPort.name": 1,
	"OutboundTrafficPolicy.mode": 0.8, "OutboundTrafficPolicy.egress_proxy": 0.7,
	"WorkloadSelector.labels": 1, "WorkloadSelector.match_labels": 1,
	"Destination.host": 1, "Destination.subset": 0.2, "Destination.port": 0.5, "PortSelector.number": 1,
	"VirtualService.hosts": 1, "VirtualService.gateways": 0.25, "VirtualService.http": 0.7, "VirtualService.tcp": 0.3, "VirtualService.tls": 0.25, "VirtualService.export_to": 0.15,
	"HTTPRoute.route": 0.95, "HTTPRoute.match": 0.25, "HTTPRoute.mirror": 0.06, "HTTPRoute.mirrors": 0.06, "HTTPRoute.redirect": 0.03, "HTTPRoute.delegate": 0.04,
	"HTTPRouteDestination.destination": 1, "HTTPRouteDestination.weight": 0.3,
	"HTTPMatchRequest.uri": 0.3, "HTTPMatchRequest.port": 0.15, "HTTPMatchRequest.gateways": 0.15, "HTTPMatchRequest.source_labels": 0.15, "HTTPMatchRequest.authority": 0.1,
	"StringMatch.exact": 0.4, "StringMatch.prefix": 0.9, "StringMatch.regex": 1, "HTTPMirrorPolicy.destination": 1,
	"TLSRoute.match": 1, "TLSRoute.route": 1, "TLSMatchAttributes.sni_hosts": 1, "TLSMatchAttributes.port": 0.25, "TLSMatchAttributes.gateways": 0.1,
	"TCPRoute.route": 1, "TCPRoute.match": 0.3, "L4MatchAttributes.port": 0.4, "L4MatchAttributes.destination_subnets": 0.2, "L4MatchAttributes.gateways": 0.1,
	"RouteDestination.destination": 1, "RouteDestination.weight": 0.3,
	"DestinationRule.host": 1, "DestinationRule.traffic_policy": 0.5, "DestinationRule.subsets": 0.5, "DestinationRule.export_to": 0.15, "DestinationRule.workload_selector": 0.1,
	"Subset.name": 1, "Subset.labels": 0.9, "Subset.traffic_policy": 0.1,
	"TrafficPolicy.load_balancer": 0.4, "TrafficPolicy.port_level_settings": 0.15, "TrafficPolicy.tls": 0.1, "TrafficPolicy.outlier_detection": 0.15, "TrafficPolicy.tunnel": 0.06,
	"PortTrafficPolicy.port": 1, "PortTrafficPolicy.load_balancer": 0.7,
	"LoadBalancerSettings.simple": 0.5, "LoadBalancerSettings.locality_lb_setting": 0.4,
	"LocalityLoadBalancerSetting.distribute": 0.5, "LocalityLoadBalancerSetting.failover": 0.2, "LocalityLoadBalancerSetting.failover_priority": 0.3, "LocalityLoadBalancerSetting.enabled": 0.3,
	"Distribute.from": 1, "Distribute.to": 1, "Failover.from": 1, "Failover.to": 1,
	"TunnelSettings.target_host": 1, "TunnelSettings.target_port": 1,
	"Gateway.servers": 1, "Gateway.selector": 1, "Server.port": 1, "Server.hosts": 1, "Server.tls": 0.5,
	"Port.number": 1, "Port.protocol": 1, "Port.name": 1, "ServerTLSSettings.mode": 1,
	"Delegate.name": 1, "Delegate.namespace": 0.5,
}
