package e2e_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

// defaultConfig is in force unless a test configures another.
const defaultConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [subset]
`

// suite is the API server with meshfence that the tests of this package share. The tests that use it do not
// run in parallel, because the FenceConfig is one for all.
type suite struct {
	*testbed.Cluster
	meshfence *testbed.Meshfence
	config    string
}

// start starts the suite once. It lives as long as the test bed.
var start = sync.OnceValues(func() (*suite, error) {
	ctx := context.Background()
	cluster, err := testbed.Start(ctx, testbed.Options{Number: 2, Name: "m1c1", Routes: true})
	if err != nil {
		return nil, err
	}
	meshfence, err := cluster.Install(ctx, testbed.Installation{FenceConfig: defaultConfig})
	if err != nil {
		return nil, err
	}
	return &suite{Cluster: cluster, meshfence: meshfence, config: defaultConfig}, nil
})

// shared returns the suite with the default config.
func shared(t *testing.T) *suite {
	t.Helper()
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.meshfence.Logs(20))
		}
	})
	s.configure(t, defaultConfig)
	return s
}

// configure applies a FenceConfig and waits until every replica has it in force.
func (s *suite) configure(t *testing.T, config string) {
	t.Helper()
	if config == s.config {
		return
	}
	if err := s.meshfence.Reconfigure(t.Context(), config); err != nil {
		t.Fatalf("configure: %v", err)
	}
	s.config = config
}

// istioNamespace makes the Namespace of Istio, unless another test has.
func (s *suite) istioNamespace(t *testing.T) {
	t.Helper()
	if _, stderr, err := s.Kubectl(t.Context(), "", "create", "namespace", "istio-system"); err != nil && !strings.Contains(stderr, "AlreadyExists") {
		t.Fatal(err)
	}
}

// metric reads one series of a replica; 0 where it is absent.
func (s *suite) metric(t *testing.T, replica int, series string) float64 {
	t.Helper()
	value, err := s.meshfence.Metric(t.Context(), replica, series)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// kubectl runs kubectl, which must succeed, and returns its stdout.
func (s *suite) kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, _, err := s.Kubectl(t.Context(), stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return stdout
}

// refused runs kubectl, which must fail, and returns its stderr.
func (s *suite) refused(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, err := s.Kubectl(t.Context(), stdin, args...)
	if err == nil {
		t.Fatalf("kubectl %s was not refused: %s", strings.Join(args, " "), stdout)
	}
	return stderr
}

// get reads one object.
func (s *suite) get(t *testing.T, args ...string) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(s.kubectl(t, "", append([]string{"get", "-o", "json"}, args...)...)), &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// eventually polls until the condition returns nil.
func eventually(t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	if err := testbed.Eventually(t.Context(), 30*time.Second, condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
