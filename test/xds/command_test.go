package xds_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/xds"
)

// testCommand runs the command as a user does, with its three sources of hosts.
func testCommand(t *testing.T, s *suite) {
	s.expect(t, s.sidecar("m1c1"), xds.Leaks, s.httpPath(), s.tcpPath(t, "m1c1"))
	s.expect(t, s.gateway("m1c1", ingress), xds.Leaks, s.ingressPath())
	first := s.mesh.Cluster("m1c1")
	manifest := filepath.Join(t.TempDir(), "scope.yaml")
	config := `{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [m1c1]}, holds: [meshConfig],
scope: {namespaces: [{name: ` + s.namespace + `, fence: strict}]}}`
	configFile, noFence := filepath.Join(t.TempDir(), "config.yaml"), filepath.Join(t.TempDir(), "none.yaml")
	manifests := strings.Replace(service, "name: reviews}", "name: reviews, namespace: "+s.namespace+"}", 1)
	for path, content := range map[string]string{manifest: manifests, configFile: config, noFence: strings.Replace(config, "strict", "none", 1)} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	base := []string{"verify", "--istiod", s.mesh.XDS(first), "--plaintext", "--cluster", "m1c1", "-n", s.namespace}
	sources := map[string][]string{
		"host":       {"--host", s.host()},
		"manifests":  {"-f", manifest, "--config", configFile},
		"kubeconfig": {"--kubeconfig", first.Kubeconfig, "--config", configFile},
	}
	for name, source := range sources {
		code, out := s.run(t, append(base, source...)...)
		if code != 1 || !strings.Contains(out, "leak: "+s.host()+" from sidecar of m1c1: endpoints in m1c2") ||
			!strings.Contains(out, "10.2.") || !strings.Contains(out, s.ingressPath().Route) {
			t.Errorf("hosts of %s: exit code %d\n%s", name, code, out)
		}
	}
	s.fenceByMeshConfig(t)
	for _, proxy := range []xds.Proxy{s.sidecar("m1c1"), s.gateway("m1c1", ingress)} {
		s.expectBy(t, proxy, policy.Strict, xds.Rules{}, xds.Held)
	}
	for name, source := range sources {
		code, out := s.run(t, append(base, append(source, "-o", "json")...)...)
		var reports []xds.Report
		// What is not asked follows on standard error.
		if err := json.NewDecoder(strings.NewReader(out)).Decode(&reports); err != nil {
			t.Fatalf("hosts of %s: %v\n%s", name, err, out)
		}
		if code != 0 || len(reports) != 2 || reports[0].Result != xds.Held || reports[1].Kind != xds.Gateway {
			t.Errorf("hosts of %s: exit code %d\n%s", name, code, out)
		}
	}
	s.asksEverybody(t, first, configFile)
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"a host that nobody knows": {[]string{"--host", "absent.default.svc.cluster.local"}, "knows none of that name"},
		"nothing fenced":           {[]string{"-f", manifest, "--config", noFence}, "no Service is fenced"},
		"no istiod there":          {[]string{"--host", s.host(), "--istiod", "127.0.0.1:1"}, "connection refused"},
		"TLS where there is none":  {[]string{"--host", s.host(), "--plaintext=false", "--timeout", "5s"}, "tls"},
	} {
		if code, out := s.run(t, append(base, test.arguments...)...); code != 2 || !strings.Contains(out, test.want) {
			t.Errorf("%s: want exit code 2 and %q, got %d\n%s", name, test.want, code, out)
		}
	}
}

// asksEverybody asks as all clients that the objects of the cluster make different. What other tests have left there
// decides how many there are, and what they find.
func (s *suite) asksEverybody(t *testing.T, c *testbed.Cluster, config string) {
	t.Helper()
	s.apply(t, "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: some}, "+
		"spec: {workloadSelector: {labels: {app: some}}, egress: [{hosts: [./*]}]}}")
	_, out := s.run(t, "verify", "--istiod", s.mesh.XDS(c), "--plaintext", "--cluster", "m1c1",
		"--kubeconfig", c.Kubeconfig, "--config", config, "-o", "json")
	var reports []xds.Report
	if err := json.NewDecoder(strings.NewReader(out)).Decode(&reports); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	asked := map[string]bool{}
	for _, r := range reports {
		if r.Host == s.host() && r.Probes > 0 {
			asked[fmt.Sprint(r.Kind, " ", r.Namespace == s.namespace, " ", r.Labels)] = true
		}
	}
	for _, want := range []string{
		"sidecar true map[]", "sidecar true map[app:some]", "sidecar false map[]",
		"gateway false map[istio:ingressgateway]", "gateway true map[istio:ingressgateway]", "gateway true map[istio:eastwestgateway]",
	} {
		if !asked[want] {
			t.Errorf("want %q asked, got %v\n%s", want, slices.Sorted(maps.Keys(asked)), out)
		}
	}
}

// run returns the exit code and the output of meshfence.
func (s *suite) run(t *testing.T, arguments ...string) (code int, out string) {
	t.Helper()
	path, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(t.Context(), path, arguments...)
	command.Stdout, command.Stderr = &stdout, &stderr
	err = command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), stdout.String() + stderr.String()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0, stdout.String()
}
