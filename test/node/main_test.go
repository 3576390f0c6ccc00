// Package node_test runs meshfence's own Pods, from the image, on a real Node: make node.
package node_test

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/meshfence/meshfence/test/testbed"
)

var onNode = flag.Bool("node", false, "run Pods on a real Node, which needs root, containerd, runc and CNI plugins")

func TestMain(m *testing.M) {
	flag.Parse()
	if *onNode {
		testbed.MainNode(m, helmTool)
		return
	}
	os.Exit(m.Run())
}

const (
	// namespace and selector are those of the manifests.
	namespace = "meshfence-system"
	selector  = "app.kubernetes.io/name=meshfence"
	// image and tag are what the Pods run.
	image = "meshfence/meshfence"
	tag   = "node"
	// patience is how long anything may take on a busy machine.
	patience = 3 * time.Minute
)

// scene is a strict Service, and one without a fence, to which its traffic must not be sent.
const scene = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: shop}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
`

// node is a cluster of one Node.
type node struct {
	*testbed.Cluster
	client  kubernetes.Interface
	objects dynamic.Interface
}

// startNode starts a Node that has the image.
func startNode(t *testing.T) *node {
	t.Helper()
	began := time.Now()
	cluster, err := testbed.Start(t.Context(), testbed.Options{Name: "m1c1", RunsPods: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	t.Logf("the Node is ready after %s", time.Since(began).Round(100*time.Millisecond))
	client, err := kubernetes.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	objects, err := dynamic.NewForConfig(cluster.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.ImportImage(t.Context(), "docker.io/"+image, makeImage(t)); err != nil {
		t.Fatal(err)
	}
	return &node{cluster, client, objects}
}

// makeImage makes the image as make image does, and returns the folder of its layout.
func makeImage(t *testing.T) string {
	t.Helper()
	layout := filepath.Join(t.TempDir(), "image")
	cmd := exec.CommandContext(t.Context(), "make", "-s", "image", "IMAGE="+layout, "PLATFORMS=linux-"+runtime.GOARCH, "VERSION="+tag)
	cmd.Dir = filepath.Join("..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make image: %v\n%s", err, out)
	}
	return layout
}

func (n *node) kubectl(t *testing.T, stdin string, args ...string) {
	t.Helper()
	if _, _, err := n.Kubectl(t.Context(), stdin, args...); err != nil {
		t.Fatal(err)
	}
}

// eventually waits for a condition, and says how long it took.
func eventually(t *testing.T, what string, condition func(context.Context) error) {
	t.Helper()
	began := time.Now()
	if err := testbed.Eventually(t.Context(), patience, condition); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Logf("%s: after %s", what, time.Since(began).Round(100*time.Millisecond))
}
