package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/xds"
)

// What istiod answers, and what comes of it, is tested with real ones under test/xds.

func TestVerifyRefusesBadUsage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		arguments []string
		want      string
	}{
		"no istiod":           {[]string{"--cluster", "m1c1"}, `required flag(s) "istiod"`},
		"no cluster":          {[]string{"--istiod", "127.0.0.1:1"}, `required flag(s) "cluster"`},
		"unknown output":      {[]string{"-o", "yaml"}, `--output "yaml" must be`},
		"unknown kind":        {[]string{"--kind", "waypoint"}, `--kind "waypoint" must be`},
		"no address range":    {[]string{"--addresses", "here=m1c1"}, "--addresses"},
		"hosts and manifests": {[]string{"-f", "-"}, "host filename"},
		"token in plain text": {[]string{"--token-file", "token"}, "plaintext must not be combined"},
		"bad address":         {[]string{"--host", "reviews=here"}, `--host "reviews=here" must be`},
		"bad locality":        {[]string{"--locality", "m1c1=a/b/c/d"}, "locality"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arguments := append([]string{"verify"}, test.arguments...)
			if !strings.HasPrefix(name, "no istiod") && !strings.HasPrefix(name, "no cluster") {
				arguments = append(arguments, "--istiod", "127.0.0.1:1", "--cluster", "m1c1", "--host", "reviews", "--plaintext")
			}
			command := newCommand()
			var stderr bytes.Buffer
			command.SetArgs(arguments)
			command.SetOut(io.Discard)
			command.SetErr(&stderr)
			if code := run(t.Context(), command); code != exitError || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("want exit code %d and %q, got %d and %s", exitError, test.want, code, stderr.String())
			}
		})
	}
}

func TestWriteReports(t *testing.T) {
	t.Parallel()
	leak := xds.Leak{
		Path:      xds.Path{Listener: "0.0.0.0_9080", Route: "9080/reviews/default", Via: "route", Cluster: "outbound|9080||reviews"},
		Endpoints: []xds.Endpoint{{Address: "10.2.0.8:9080", Cluster: "m1c2", Priority: 1, Unready: true}},
		Reason:    "endpoints in m1c2",
		Probe:     "http 10.101.0.7:9080 Host reviews",
	}
	byName := xds.Leak{Path: xds.Path{Via: "name", Cluster: "outbound|9090||reviews"}, Reason: "the cluster is ORIGINAL_DST"}
	reports := []xds.Report{
		{Host: "reviews", Fence: "strict", Cluster: "m1c1", Kind: xds.Sidecar, Namespace: "shop", Network: "net1", Result: xds.Leaks, Leaks: []xds.Leak{leak}, Unrouted: []xds.Leak{byName}},
		{Host: "ratings", Fence: "prefer", Cluster: "m1c1", Kind: xds.Gateway, Result: xds.Held, Failover: []string{"m1c2"}, Notes: []string{"something"}},
		{Host: "details", Fence: "strict", Cluster: "m1c1", Kind: xds.Gateway, Result: xds.Held, Labels: map[string]string{"a": "b"}, Notes: []string{"something"}},
	}
	var out strings.Builder
	if err := writeReports(&out, reports); err != nil {
		t.Fatal(err)
	}
	want := `HOST      FENCE    CLUSTER   KIND      NAMESPACE   RESULT   DETAIL
reviews   strict   m1c1      sidecar   shop        leaks    network net1; paths that leave: 1; clusters that would by name: 1
ratings   prefer   m1c1      gateway               held     failover to m1c2
details   strict   m1c1      gateway               held     a=b

leak: reviews from sidecar of m1c1: endpoints in m1c2
  connection    http 10.101.0.7:9080 Host reviews
  listener      0.0.0.0_9080
  route         9080/reviews/default
  via           route
  cluster       outbound|9080||reviews
  endpoint      10.2.0.8:9080 in m1c2, priority 1, not ready

by name only: reviews from sidecar of m1c1: the cluster is ORIGINAL_DST
  via           name
  cluster       outbound|9090||reviews

note: ratings and 1 more from gateway of m1c1: something
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
