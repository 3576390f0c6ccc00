// Package registry adds metrics to a registry of Prometheus, for every room that has some.
package registry
