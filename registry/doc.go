// Package registry adds metrics to a registry of Prometheus, for every room that has some, and serves them to those alone who
// may read them, where that is asked for.
package registry
