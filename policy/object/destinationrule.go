package object

import (
	"encoding/json"

	"github.com/meshfence/meshfence/policy/jsonview"
)

// DestinationRule is the part of a networking.istio.io DestinationRule that is read.
type DestinationRule struct {
	Host             string         `json:"host"`
	TrafficPolicy    *TrafficPolicy `json:"trafficPolicy"`
	Subsets          []RuleSubset   `json:"subsets"`
	ExportTo         []string       `json:"exportTo"`
	WorkloadSelector *RuleSelector  `json:"workloadSelector"`
}

// RuleSelector chooses the clients, in the Namespace of the DestinationRule, that it applies to.
type RuleSelector struct {
	MatchLabels map[string]string `json:"matchLabels"`
}

// RuleSubset is a named part of the endpoints of a DestinationRule's host.
type RuleSubset struct {
	Name          string            `json:"name"`
	Labels        map[string]string `json:"labels"`
	TrafficPolicy *TrafficPolicy    `json:"trafficPolicy"`
}

// TrafficPolicy is the policy of a host or of a subset.
type TrafficPolicy struct {
	PolicySettings
	PortLevelSettings []PortPolicy `json:"portLevelSettings"`
	Tunnel            *Tunnel      `json:"tunnel"`
}

// PortPolicy replaces a TrafficPolicy for one port.
type PortPolicy struct {
	PolicySettings
	Port Port `json:"port"`
}

// Port is a port number of a Service or ServiceEntry.
type Port struct {
	Number int64 `json:"number"`
}

// PolicySettings are the settings that a policy and a port of it share.
type PolicySettings struct {
	LoadBalancer     *LoadBalancer   `json:"loadBalancer"`
	OutlierDetection json.RawMessage `json:"outlierDetection"`
}

// LoadBalancer is a policy's loadBalancer.
type LoadBalancer struct {
	Simple    string           `json:"simple"`
	Locality  *LocalitySetting `json:"localityLbSetting"`
	ZoneAware jsonview.Present `json:"zoneAwareLbSetting"`
}

// LocalitySetting is a loadBalancer's localityLbSetting.
type LocalitySetting struct {
	Enabled          *bool             `json:"enabled"`
	Distribute       []Distribute      `json:"distribute"`
	Failover         []json.RawMessage `json:"failover"`
	FailoverPriority []string          `json:"failoverPriority"`
}

// Distribute sends the clients of a locality to localities, by weights that add up to 100.
type Distribute struct {
	From string           `json:"from"`
	To   map[string]int64 `json:"to"`
}

// Tunnel is a policy's tunnel.
type Tunnel struct {
	TargetHost string `json:"targetHost"`
	TargetPort int64  `json:"targetPort"`
}
