// Package election runs the parts of a process that only the leader among the replicas may run, from the beginning of
// each of its terms to the end. Losing the lease ends a term, and never the process.
//
// The manager of controller-runtime knows one term: it ends with the lease (initLeaderElector in its
// pkg/manager/internal.go), and takes with it whatever else runs in the process, such as admission.
package election
