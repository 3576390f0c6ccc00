// Package cluster keeps an index equal to a cluster: Services, Namespaces and what rules relate, by informers; the FenceConfig,
// completed with the Nodes and mesh ConfigMaps that this replica sees; and what the index does not know yet, read live.
package cluster
