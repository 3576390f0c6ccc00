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

// addHosts fails like isolate.
func addHosts(string, netip.Prefix) error {
	return errors.New("the test bed needs Linux namespaces")
}
