// Package apiserver_test measures what a write costs through a real API server: with nothing in its way, with one and with two
// webhooks that only allow, with a ValidatingAdmissionPolicy, with meshfence, and with Gatekeeper and Kyverno.
package apiserver_test

import (
	"flag"
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
	flag.Parse()
	tools := []string{testbed.ToolMeshfence}
	if *withPeers {
		tools = append(tools, peerTools()...)
	}
	testbed.Main(m, tools...)
}
