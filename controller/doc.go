// Package controller keeps the objects of the cluster as the scope wants them, outside of admission: the mesh
// ConfigMaps (package meshconfig), the companions of fenced Services (companion), and the objects that are older than their
// fence (backfill). And it audits what is stored (audit). Only the leader among the replicas runs it.
package controller
