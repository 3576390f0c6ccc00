package faults_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meshfence/meshfence/test/testbed"
)

var (
	full = flag.Bool("full", false, "go through every fault, and not only through those that are over soon")
	many = flag.Int("services", 1000, "how many Services a label fences at once")
)

func TestMain(m *testing.M) {
	flag.Parse()
	previous := testbed.ToolPrevious
	if *full {
		previous = testbed.ToolPreviousProgram
	}
	testbed.Main(m, append(testbed.CertManagerTools(), testbed.ToolMeshfence, helmTool, previous)...)
}

// fenceConfig is in force unless a fault says otherwise.
const fenceConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [subset]
`

// scene is what the writes are about: reviews and ratings are strict by the label of their Namespace, plain is not.
const scene = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {meshfence.io/fence: strict}}
---
apiVersion: v1
kind: Namespace
metadata: {name: open}
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: shop}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings, namespace: shop}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings, namespace: shop}
spec: {host: ratings, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: open}
spec: {selector: {app: plain}, ports: [{name: http, port: 9080}]}
`

// bed is a cluster with two supervised replicas of meshfence.
type bed struct {
	*testbed.Cluster
	overlay   string
	meshfence *testbed.Meshfence
	client    kubernetes.Interface
	objects   dynamic.Interface
	alone     func() // stops the supervision
}

// newBed starts a bed with an overlay of the manifests, which lives as long as the context.
func newBed(ctx context.Context, overlay string) (*bed, error) {
	b, err := newCluster(ctx, overlay)
	if err != nil {
		return nil, err
	}
	if err := b.install(ctx, testbed.Installation{Overlay: overlay}); err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

// newCluster starts a bed without meshfence.
func newCluster(ctx context.Context, overlay string) (*bed, error) {
	cluster, err := testbed.Start(ctx, testbed.Options{Name: "m1c1", Routes: true})
	if err != nil {
		return nil, err
	}
	if overlay == certManager {
		err = cluster.StartCertManager(ctx)
	}
	return &bed{Cluster: cluster, overlay: overlay}, err
}

// install installs meshfence, and makes the scene.
func (b *bed) install(ctx context.Context, o testbed.Installation) (err error) {
	o.FenceConfig = fenceConfig
	if b.meshfence, err = b.Install(ctx, o); err != nil {
		return err
	}
	b.alone = b.meshfence.Supervise(ctx)
	config := b.Config()
	config.WarningHandler = rest.NoWarnings{} // a Service that goes is warned of each time
	if b.client, err = kubernetes.NewForConfig(config); err != nil {
		return err
	}
	if b.objects, err = dynamic.NewForConfig(config); err != nil {
		return err
	}
	return b.Apply(ctx, scene)
}

// stop ends everything.
func (b *bed) stop() {
	b.alone()
	b.meshfence.Stop()
	b.Stop()
}

// unsupervised does something while nobody starts replicas again.
func (b *bed) unsupervised(ctx context.Context, do func() error) error {
	b.alone()
	defer func() { b.alone = b.meshfence.Supervise(context.WithoutCancel(ctx)) }()
	return do()
}

// leads is the series that says whether a replica leads.
const leads = `leader_election_master_status{name="meshfence"}`

// leader returns the replica that leads.
func (b *bed) leader(ctx context.Context) (int, error) {
	for i := range b.meshfence.Replicas() {
		if value, err := b.meshfence.Metric(ctx, i, leads); err == nil && value == 1 {
			return i, nil
		}
	}
	return 0, errors.New("no replica leads")
}

// called returns the replica that the API server calls. All requests go over one connection while that lasts.
func (b *bed) called(ctx context.Context) (int, error) {
	const answered = `meshfence_admission_duration_seconds_count{kind="ServiceEntry",path="/validate"}`
	before := make([]float64, b.meshfence.Replicas())
	for i := range before {
		var err error
		if before[i], err = b.meshfence.Metric(ctx, i, answered); err != nil {
			return 0, err
		}
	}
	var called int
	return called, testbed.Eventually(ctx, 10*time.Second, func(ctx context.Context) error {
		for i := range before {
			if now, err := b.meshfence.Metric(ctx, i, answered); err == nil && now > before[i] {
				called = i
				return nil
			}
		}
		return errors.New("no replica is called")
	})
}

// leads waits until a replica does the leader's work: it keeps a companion of a Service that is new.
func (b *bed) leads(ctx context.Context) error {
	const service = "{apiVersion: v1, kind: Service, metadata: {generateName: new-, namespace: shop}, spec: {selector: {app: new}, ports: [{name: http, port: 80}]}}"
	object, err := parse(service)
	if err != nil {
		return err
	}
	var made *unstructured.Unstructured
	err = testbed.Eventually(ctx, time.Minute, func(ctx context.Context) (err error) {
		made, err = b.objects.Resource(services).Namespace("shop").Create(ctx, object, metav1.CreateOptions{})
		return err
	})
	if err != nil {
		return err
	}
	defer func() {
		_ = b.objects.Resource(services).Namespace("shop").Delete(ctx, made.GetName(), metav1.DeleteOptions{}) // one more does no harm
	}()
	return testbed.Eventually(ctx, 5*time.Minute, func(ctx context.Context) error {
		_, err := b.objects.Resource(destinationRules).Namespace("shop").Get(ctx, made.GetName()+"-meshfence", metav1.GetOptions{})
		return err
	})
}

// pause waits for a while.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("pause: %w", ctx.Err())
	}
}
