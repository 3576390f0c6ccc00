package e2e_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/cert"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/webhook"
)

const (
	leaderNamespace = "fence-system"
	leaderPort      = 9443
)

// leaderRights is all that a leading replica needs.
const leaderRights = `
apiVersion: v1
kind: Namespace
metadata: {name: fence-system}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: fence-leader}
rules:
- {apiGroups: [""], resources: [services, namespaces], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [services], verbs: [patch]}
- {apiGroups: [""], resources: [pods, nodes], verbs: [get, list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [extensions.istio.io], resources: [wasmplugins, trafficextensions], verbs: [list, watch]}
- {apiGroups: [networking.k8s.io], resources: [ingresses, ingressclasses], verbs: [list, watch]}
- apiGroups: [networking.istio.io]
  resources: [serviceentries, workloadentries, workloadgroups, sidecars, gateways, envoyfilters, proxyconfigs]
  verbs: [list, watch]
- apiGroups: [networking.istio.io]
  resources: [destinationrules, virtualservices]
  verbs: [get, list, watch, create, update, patch, delete]
- {apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: fence-leader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: fence-leader}
subjects: [{kind: ServiceAccount, name: meshfence, namespace: fence-system}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: fence-leader, namespace: fence-system}
rules:
- {apiGroups: [""], resources: [configmaps], resourceNames: [meshfence], verbs: [get, list, watch]}
- {apiGroups: ["", events.k8s.io], resources: [events], verbs: [create, patch]}
- {apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create, get, update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: fence-leader, namespace: fence-system}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: fence-leader}
subjects: [{kind: ServiceAccount, name: meshfence, namespace: fence-system}]
`

// leaderWebhooks registers both paths of the replica in this process.
const leaderWebhooks = `
apiVersion: admissionregistration.k8s.io/v1
kind: %[1]sWebhookConfiguration
metadata: {name: fence-leader}
webhooks:
- name: %[2]s.meshfence.io
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  timeoutSeconds: 5
  rules:
  - {apiGroups: [networking.istio.io], apiVersions: ["*"], resources: [destinationrules, virtualservices], operations: [CREATE, UPDATE]}
  - {apiGroups: [""], apiVersions: [v1], resources: [services], operations: [CREATE, UPDATE]}
  clientConfig: {url: "https://%[3]s:%[4]d/%[2]s", caBundle: "%[5]s"}
`

// leaderBed is an API server on which the tests run meshfence in their own process.
type leaderBed struct {
	*testbed.Cluster
	client.Client
	certificate tls.Certificate
	ca          []byte
}

// startLeaderBed starts the bed that the tests share.
var startLeaderBed = sync.OnceValues(func() (*leaderBed, error) {
	return makeLeaderBed(testbed.Options{Number: 5, Name: "m1c5"})
})

func makeLeaderBed(o testbed.Options) (*leaderBed, error) {
	ctrl.SetLogger(logr.Discard()) // each replica has a log of its own
	cluster, err := testbed.Start(context.Background(), o)
	if err != nil {
		return nil, err
	}
	c, err := client.New(cluster.Config(), client.Options{})
	if err != nil {
		return nil, err
	}
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey(cluster.Address.String(), nil, nil)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	return &leaderBed{Cluster: cluster, Client: c, certificate: pair, ca: certPEM}, cluster.Apply(context.Background(), leaderRights)
}

// newLeaderBed returns the bed with that FenceConfig in place of any other, with admission registered, and without
// what earlier tests made.
func newLeaderBed(t *testing.T, config string) *leaderBed {
	t.Helper()
	b, err := startLeaderBed()
	if err != nil {
		t.Fatal(err)
	}
	b.clear(t)
	b.configure(t, config)
	newLeaderWebhooks(t, b)
	return b
}

// newLeaderWebhooks has the API server call the replica in this process.
func newLeaderWebhooks(t *testing.T, b *leaderBed) {
	t.Helper()
	for path, kind := range map[string]string{"mutate": "Mutating", "validate": "Validating"} {
		manifest := fmt.Sprintf(leaderWebhooks, kind, path, b.Address, leaderPort, base64.StdEncoding.EncodeToString(b.ca))
		if err := b.Cluster.Apply(t.Context(), manifest); err != nil {
			t.Fatal(err)
		}
	}
}

// clear deletes the objects in the namespaces of earlier tests, which may take a while to go themselves.
func (b *leaderBed) clear(t *testing.T) {
	t.Helper()
	var namespaces corev1.NamespaceList
	if err := b.List(t.Context(), &namespaces); err != nil {
		t.Fatal(err)
	}
	for _, n := range namespaces.Items {
		if !strings.HasPrefix(n.Name, "test-") {
			continue
		}
		for _, o := range []client.Object{istio(object.KindVirtualService, "", ""), istio(object.KindDestinationRule, "", ""), &corev1.Service{}} {
			if err := b.DeleteAllOf(t.Context(), o, client.InNamespace(n.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// configure writes the FenceConfig.
func (b *leaderBed) configure(t *testing.T, config string) {
	t.Helper()
	text := "apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n" + config
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: leaderNamespace, Name: policy.ConfigMapName}}
	_, err := controllerutil.CreateOrUpdate(t.Context(), b.Client, object, func() error {
		object.Data = map[string]string{policy.ConfigMapKey: text}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// leader is meshfence in this process: admission and the controller.
type leader struct {
	index    *policy.Index
	registry *prometheus.Registry
	cancel   context.CancelFunc
	ended    chan error
	log      *strings.Builder
	logs     sync.Mutex
	requests atomic.Int64 // those that counted counts
}

// lead starts a replica, which leads at once, and stops it when the test ends.
func (b *leaderBed) lead(t *testing.T, o controller.Options) *leader {
	t.Helper()
	l := &leader{registry: prometheus.NewRegistry(), ended: make(chan error, 1), log: &strings.Builder{}}
	user := b.As("system:serviceaccount:fence-system:meshfence")
	user.Wrap(l.counted)
	mgr, err := ctrl.NewManager(user, ctrl.Options{
		Logger:                        funcr.New(l.write, funcr.Options{}),
		Scheme:                        scheme.Scheme,
		Cache:                         cluster.CacheOptions(leaderNamespace),
		NewCache:                      cluster.NewCache,
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		Controller:                    config.Controller{SkipNameValidation: new(true)},
		LeaderElection:                true,
		LeaderElectionNamespace:       leaderNamespace,
		LeaderElectionID:              "fence-leader",
		LeaderElectionReleaseOnCancel: true,
		WebhookServer: ctrlwebhook.NewServer(ctrlwebhook.Options{
			Host: b.Address.String(), Port: leaderPort,
			TLSOpts: []func(*tls.Config){func(c *tls.Config) {
				c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &b.certificate, nil }
			}},
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	rules := leak.Rules()
	fences, err := cluster.LoadConfig(t.Context(), mgr.GetAPIReader(), policy.ConfigMapSource(leaderNamespace, leak.IDs(rules)))
	if err != nil {
		t.Fatal(err)
	}
	counts, err := webhook.NewMetrics(l.registry)
	if err != nil {
		t.Fatal(err)
	}
	o.Index, o.Rules, o.Registerer = policy.NewIndex(fences), rules, l.registry
	inForce, err := cluster.NewMetrics(l.registry)
	if err != nil {
		t.Fatal(err)
	}
	state, err := cluster.Setup(t.Context(), mgr, cluster.Options{
		Index: o.Index, Rules: rules, InstallNamespace: leaderNamespace, Metrics: inForce,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = webhook.Setup(mgr.GetWebhookServer(), webhook.Options{
		Index: o.Index, Rules: rules, InstallNamespace: leaderNamespace, Metrics: counts,
		Reader: mgr.GetAPIReader(), Synced: state.Synced,
	})
	if err != nil {
		t.Fatal(err)
	}
	o.Synced, o.HasObjects, l.index = state.Synced, state.HasObjects, o.Index
	if err := controller.Setup(mgr, o); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, l.cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	go func() { l.ended <- mgr.Start(ctx) }()
	t.Cleanup(func() { l.stop(t) })
	eventually(t, "the replica serves", func(context.Context) error {
		return errors.Join(mgr.GetWebhookServer().StartedChecker()(nil), state.Check(nil))
	})
	return l
}

// stop ends the replica, once.
func (l *leader) stop(t *testing.T) {
	t.Helper()
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.cancel = nil
	if err := <-l.ended; err != nil {
		t.Errorf("the replica ended with %v", err)
	}
	if t.Failed() {
		l.logs.Lock()
		defer l.logs.Unlock()
		t.Log(l.log.String())
	}
}

func (l *leader) write(prefix, args string) {
	l.logs.Lock()
	defer l.logs.Unlock()
	fmt.Fprintf(l.log, "%s %s %s\n", time.Now().Format("05.000"), prefix, args)
}

// metric reads a gauge or counter by its name and the value of one of its labels, if it has any.
func (l *leader) metric(t *testing.T, name string, label ...string) float64 {
	t.Helper()
	families, err := l.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		for _, m := range family.GetMetric() {
			found := len(label) == 0
			for _, pair := range m.GetLabel() {
				found = found || pair.GetValue() == label[0]
			}
			if family.GetName() == name && found {
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func istio(kind, namespace, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: kind})
	u.SetNamespace(namespace)
	u.SetName(name)
	return u
}

// read reads an object into itself; the error says so where there is none.
func (b *leaderBed) read(ctx context.Context, o client.Object) error {
	return b.Get(ctx, client.ObjectKeyFromObject(o), o)
}

// gone returns nil where there is no such object.
func (b *leaderBed) gone(ctx context.Context, o client.Object) error {
	err := b.read(ctx, o)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return errors.Join(fmt.Errorf("%s %s is there", o.GetObjectKind().GroupVersionKind().Kind, o.GetName()), err)
}

// apply applies manifests in a namespace.
func (b *leaderBed) apply(t *testing.T, namespace, manifests string) {
	t.Helper()
	if err := b.Cluster.Apply(t.Context(), manifests, "-n", namespace); err != nil {
		t.Fatal(err)
	}
}
