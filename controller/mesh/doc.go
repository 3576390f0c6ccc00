// Package mesh answers what the controller asks about the DestinationRules and VirtualServices of a cluster, from the index
// that rules are judged by.
package mesh
