package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

// nodeConfig has hold locality read the Nodes of its cluster.
const nodeConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c7]}
holds: [locality]
localities: {m1c2: [us/*]}
`

// localityRule is a user's rule for the Service reviews of a namespace.
const localityRule = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %s}
spec: {host: reviews.shop.svc.cluster.local, trafficPolicy: {loadBalancer: {simple: RANDOM}}}
`

// located is a cluster with one Node in eu/a, and meshfence in it.
type located struct{ *suite }

func newLocated(t *testing.T) *located {
	t.Helper()
	cluster, err := testbed.Start(t.Context(), testbed.Options{Number: 7, Name: "m1c7", NodeLabels: map[string]string{
		"topology.kubernetes.io/region": "eu", "topology.kubernetes.io/zone": "a",
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	meshfence, err := cluster.Install(t.Context(), testbed.Installation{FenceConfig: nodeConfig})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(meshfence.Logs(20))
		}
		meshfence.Stop()
	})
	l := &located{&suite{Cluster: cluster, meshfence: meshfence, config: nodeConfig}}
	for _, namespace := range []string{"shop", "client"} {
		l.kubectl(t, "", "create", "namespace", namespace)
	}
	return l
}

// distributed waits until a DestinationRule sends all clients to these localities; none where they are empty.
func (l *located) distributed(t *testing.T, namespace, name, want string) {
	t.Helper()
	eventually(t, namespace+"/"+name+" sends clients to "+want, func(ctx context.Context) error {
		got, err := l.distribute(ctx, namespace, name)
		if err == nil && got != want {
			err = fmt.Errorf("got %q", got)
		}
		return err
	})
}

func (l *located) distribute(ctx context.Context, namespace, name string) (string, error) {
	out, _, err := l.Kubectl(ctx, "", "get", "destinationrule", name, "-n", namespace, "-o",
		"jsonpath={.spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[?(@.from==\"*\")].to}")
	return out, err
}

// known waits until every replica reports whether it knows its localities.
func (l *located) known(t *testing.T, want float64) {
	t.Helper()
	eventually(t, fmt.Sprintf("localities known: %v", want), func(context.Context) error {
		for i := range l.meshfence.Replicas() {
			if got := l.metric(t, i, "meshfence_localities_known"); got != want {
				return fmt.Errorf("replica %d says %v", i, got)
			}
		}
		return nil
	})
}

// reported waits for an Event on the FenceConfig.
func (l *located) reported(t *testing.T, note string) {
	t.Helper()
	eventually(t, "an Event says "+note, func(ctx context.Context) error {
		out, _, err := l.Kubectl(ctx, "", "get", "events.events.k8s.io", "-A", "-o",
			`jsonpath={range .items[?(@.reason=="UnknownLocalities")]}{.regarding.kind}/{.regarding.name}: {.note}{"\n"}{end}`)
		if err == nil && !strings.Contains(out, "ConfigMap/meshfence: "+note) {
			err = fmt.Errorf("events:\n%s", out)
		}
		return err
	})
}

func (l *located) restart(t *testing.T) {
	t.Helper()
	for i := range l.meshfence.Replicas() {
		if err := errors.Join(l.meshfence.StopReplica(t.Context(), i), l.meshfence.StartReplica(t.Context(), i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.meshfence.WaitServing(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// The labels of the Nodes move the distribute, and a locality that is another cluster's is refused: a running process
// keeps the last good ones, and one that has none lets nothing in.
func TestLocalitiesOfNodes(t *testing.T) {
	const (
		shared  = `the localities of cluster "m1c7" are not known: it has Nodes in "us/b/*", which overlaps "us/*" of cluster m1c2`
		service = "{apiVersion: v1, kind: Service, metadata: {name: %s, annotations: {meshfence.io/fence: %s}}, spec: {selector: {app: any}, ports: [{name: http, port: 80}]}}"
		old     = `{"ap/*":100}`
	)
	l := newLocated(t)
	l.kubectl(t, fmt.Sprintf(service, "reviews", "strict"), "apply", "-n", "shop", "-f", "-")
	l.kubectl(t, fmt.Sprintf(localityRule, "first"), "apply", "-n", "client", "-f", "-")
	l.distributed(t, "client", "first", `{"eu/*":100}`)
	l.distributed(t, "shop", "reviews-meshfence", `{"eu/*":100}`)

	l.kubectl(t, "", "label", "node", l.Node(), "--overwrite", "topology.kubernetes.io/region=ap")
	l.distributed(t, "client", "first", old)
	l.distributed(t, "shop", "reviews-meshfence", old)

	l.kubectl(t, "{apiVersion: v1, kind: Node, metadata: {name: stray, labels: {topology.kubernetes.io/region: us, topology.kubernetes.io/zone: b}}}", "create", "-f", "-")
	l.known(t, 0)
	l.reported(t, shared+"; the last good ones stay in force")
	l.kubectl(t, fmt.Sprintf(localityRule, "second"), "apply", "-n", "client", "-f", "-")
	l.distributed(t, "client", "second", old)

	l.restart(t)
	l.known(t, 0)
	l.reported(t, shared+"; until they are, hold locality holds nothing new")
	message := l.refused(t, fmt.Sprintf(localityRule, "third"), "apply", "-n", "client", "-f", "-")
	for _, want := range []string{shared, "[destinationrule-unfenced]", "localityLbSetting.distribute"} {
		if !strings.Contains(message, want) {
			t.Errorf("the refusal lacks %q: %s", want, message)
		}
	}
	l.refused(t, "", "patch", "destinationrule", "first", "-n", "client", "--type=json", "-p",
		`[{"op": "remove", "path": "/spec/trafficPolicy/loadBalancer/localityLbSetting"}]`)
	l.kubectl(t, "", "label", "destinationrule", "first", "-n", "client", "touched=yes")
	l.kubectl(t, fmt.Sprintf(service, "ratings", "strict"), "apply", "-n", "shop", "-f", "-")
	l.kubectl(t, fmt.Sprintf(service, "details", "prefer"), "apply", "-n", "shop", "-f", "-")
	l.distributed(t, "shop", "details-meshfence", "") // its companion came after that of ratings would have
	if _, err := l.distribute(t.Context(), "shop", "ratings-meshfence"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("a companion without known localities: %v", err)
	}
	l.distributed(t, "client", "first", old)
	l.distributed(t, "shop", "reviews-meshfence", old)

	l.kubectl(t, "", "label", "node", "stray", "--overwrite", "topology.kubernetes.io/region=eu")
	l.known(t, 1)
	both := `{"ap/*":50,"eu/*":50}`
	for _, rule := range [][2]string{{"client", "first"}, {"client", "second"}, {"shop", "reviews-meshfence"}, {"shop", "ratings-meshfence"}} {
		l.distributed(t, rule[0], rule[1], both)
	}
	l.kubectl(t, fmt.Sprintf(localityRule, "third"), "apply", "-n", "client", "-f", "-")
}
