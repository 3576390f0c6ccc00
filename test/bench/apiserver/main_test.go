// Package apiserver_test measures what a write costs through a real API server: with nothing in its way, with one and with two
// webhooks that only allow, with a ValidatingAdmissionPolicy, and with meshfence.
package apiserver_test

import (
	"os"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

// TestMain runs the tests, or is the webhook that only allows, which is a process of its own so that its time of the
// processor can be told from that of the writers.
func TestMain(m *testing.M) {
	if address := os.Getenv(emptyAddress); address != "" {
		serveEmpty(address, os.Getenv(emptyCertificates))
		return
	}
	testbed.Main(m, testbed.ToolMeshfence)
}
