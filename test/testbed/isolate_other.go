//go:build !linux

package testbed

import (
	"errors"
	"net/netip"
)

// isolate fails: only Linux has the namespaces that the test bed rests on.
func isolate(func() int, []string) (int, error) {
	return 0, errors.New("the test bed needs Linux namespaces")
}

// isolateNode fails like isolate.
func isolateNode(run func() int, tools []string) (int, error) { return isolate(run, tools) }

// addHosts fails like isolate.
func addHosts(string, netip.Prefix) error {
	return errors.New("the test bed needs Linux namespaces")
}
