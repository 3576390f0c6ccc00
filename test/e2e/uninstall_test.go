package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/testbed"
	"github.com/meshfence/meshfence/uninstall"
	"github.com/meshfence/meshfence/webhook/certificate"
)

// uninstallConfig fences shop, and prefers this cluster in bar.
const uninstallConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c10]}
holds: [%s]
localities: {m1c10: [eu/a], m1c2: [us/*]}
scope: {namespaces: [{name: shop, fence: strict}, {name: bar, fence: prefer}]}
`

// userObjects are what users wrote before there was a meshfence: with rules and routes of their own and without, with
// comments of their own on what meshfence would add, and with fields that it does not know.
const userObjects = `
apiVersion: v1
kind: Service
metadata: {name: reviews, labels: {app: reviews}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}, {name: tcp, port: 9090}]}
---
apiVersion: v1
kind: Service
metadata: {name: ratings}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: asks, annotations: {meshfence.io/fence: strict, mine: stays}}
spec: {selector: {app: asks}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, annotations: {galley.istio.io/analyze-suppress: IST0001}}
spec:
  host: reviews
  trafficPolicy: {connectionPool: {tcp: {maxConnections: 7}}, portLevelSettings: [{port: {number: 9090}, loadBalancer: {simple: RANDOM}}]}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: us/b, to: {us/b: 100}}]}}}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{uri: {prefix: /v2}}]
    timeout: 1500ms
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{port: 9080}]
    route: [{destination: {host: reviews}, weight: 90}, {destination: {host: ratings}, weight: 10}]
`

// uninstallBed is a cluster whose objects are from before meshfence.
type uninstallBed struct {
	*suite

	before map[string]any
	client client.WithWatch
}

func newUninstallBed(t *testing.T) *uninstallBed {
	t.Helper()
	cluster, err := testbed.Start(t.Context(), testbed.Options{Number: 10, Name: "m1c10"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Stop)
	b := &uninstallBed{suite: &suite{Cluster: cluster}}
	if b.client, err = client.NewWithWatch(cluster.Config(), client.Options{}); err != nil {
		t.Fatal(err)
	}
	b.istioNamespace(t)
	b.install(t, meshText)
	for _, namespace := range []string{"shop", "bar"} {
		b.kubectl(t, "", "create", "namespace", namespace)
		b.kubectl(t, userObjects, "apply", "--server-side", "-n", namespace, "-f", "-")
	}
	b.before = b.dump(t)
	return b
}

// dump returns everything that meshfence may change, by its name, without what every write changes.
func (b *uninstallBed) dump(t *testing.T) map[string]any {
	t.Helper()
	objects := map[string]any{}
	for _, u := range b.list(t) {
		for _, field := range []string{"resourceVersion", "generation"} {
			unstructured.RemoveNestedField(u.Object, "metadata", field)
		}
		fields := u.GetManagedFields()
		for i := range fields {
			fields[i].Time = nil
		}
		u.SetManagedFields(fields)
		objects[u.GetKind()+" "+u.GetNamespace()+"/"+u.GetName()] = u.Object
	}
	return objects
}

func (b *uninstallBed) list(t *testing.T) []unstructured.Unstructured {
	t.Helper()
	var objects []unstructured.Unstructured
	for _, namespace := range []string{"shop", "bar", "istio-system"} {
		var list struct{ Items []map[string]any }
		if err := json.Unmarshal([]byte(b.kubectl(t, "", "get", "destinationrules,virtualservices,services,configmaps", "--show-managed-fields", "-o", "json", "-n", namespace)), &list); err != nil {
			t.Fatal(err)
		}
		for _, o := range list.Items {
			if u := (unstructured.Unstructured{Object: o}); u.GetName() != "kube-root-ca.crt" {
				objects = append(objects, u)
			}
		}
	}
	return objects
}

// fence installs meshfence and waits until nothing is left to be written.
func (b *uninstallBed) fence(t *testing.T, holds string) {
	t.Helper()
	meshfence, err := b.Install(t.Context(), testbed.Installation{FenceConfig: fmt.Sprintf(uninstallConfig, holds)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(meshfence.Logs(20))
		}
		meshfence.Stop()
	})
	b.meshfence = meshfence
	eventually(t, "all is fenced", func(context.Context) error {
		if code, out := b.run(t, "audit"); code != 0 {
			return errors.New(out)
		}
		return nil
	})
	eventually(t, "nothing is written any more", func(context.Context) error {
		before := b.dump(t)
		time.Sleep(3 * time.Second)
		if diff := cmp.Diff(before, b.dump(t)); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// TestUninstall: whatever the holds were, the command says what it would do and does it, while users go on writing;
// afterwards every object is what it was before meshfence came, and who owns its fields too.
func TestUninstall(t *testing.T) {
	t.Parallel() // on a cluster of its own
	b := newUninstallBed(t)
	for _, holds := range []string{"meshConfig", "locality", "subset"} {
		t.Run(holds, func(t *testing.T) {
			b.fence(t, holds)
			fenced := b.dump(t)
			if cmp.Equal(b.before, fenced) {
				t.Fatal("nothing is fenced")
			}
			code, out := b.run(t, "uninstall")
			for _, want := range []string{"ValidatingWebhookConfiguration meshfence: delete it", "Service shop/reviews: remove", "2 labels of Namespaces and annotations of Services"} {
				if code != 1 || !strings.Contains(out, want) {
					t.Errorf("plan: exit code %d, without %q\n%s", code, want, out)
				}
			}
			if diff := cmp.Diff(fenced, b.dump(t)); diff != "" {
				t.Errorf("the plan wrote (-before +after):\n%s", diff)
			}
			b.takeOut(t)
			if diff := cmp.Diff(b.before, b.dump(t)); diff != "" {
				t.Errorf("afterwards (-before +after):\n%s", diff)
			}
			if code, out := b.run(t, "uninstall"); code != 0 || !strings.Contains(out, "kubectl delete -k") {
				t.Errorf("once more: exit code %d\n%s", code, out)
			}
		})
	}
	t.Run("cut short", func(t *testing.T) { b.cutShort(t) })
}

// takeOut runs the command while a user writes, who must never be refused.
func (b *uninstallBed) takeOut(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ended, refused := make(chan error, 1), make(chan error, 1)
	go func() { ended <- b.meshfence.EndPods(ctx) }()
	go func() {
		const rule = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: ordinary, namespace: default}, spec: {host: example.com}}"
		for ctx.Err() == nil {
			if _, stderr, err := b.Kubectl(ctx, rule, "apply", "--dry-run=server", "-f", "-"); err != nil && ctx.Err() == nil {
				refused <- errors.New(stderr)
				return
			}
		}
		refused <- nil
	}()
	if code, out := b.run(t, "uninstall", "--yes"); code != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	stop()
	if err := <-refused; err != nil {
		t.Errorf("an ordinary object was refused: %v", err)
	}
}

// errKilled is what a write meets after the last one before the end.
var errKilled = errors.New("killed")

// cutShort fences by subset alone, which changes most, and ends the uninstallation after each number of writes in turn (in make test after some):
// then routes lead to no subset that is gone, nothing is refused, and once it is run again all is as before meshfence.
func (b *uninstallBed) cutShort(t *testing.T) {
	b.fence(t, "subset")
	fenced := b.list(t)
	var install []unstructured.Unstructured
	for _, kind := range []string{"mutatingwebhookconfiguration", "validatingwebhookconfiguration"} {
		install = append(install, unstructured.Unstructured{Object: b.get(t, kind, "meshfence")})
	}
	b.takeOut(t)
	step := 4
	if *full {
		step = 1
	}
	for after, done := 0, false; !done; after += step {
		b.restore(t, fenced, install)
		writes := 0
		count := func() error {
			if writes++; writes > after {
				return errKilled
			}
			return nil
		}
		err := b.uninstaller(interceptor.NewClient(b.client, interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, options ...client.PatchOption) error {
				return errors.Join(count(), write(writes <= after, func() error { return c.Patch(ctx, o, p, options...) }))
			},
			Delete: func(ctx context.Context, c client.WithWatch, o client.Object, options ...client.DeleteOption) error {
				return errors.Join(count(), write(writes <= after, func() error { return c.Delete(ctx, o, options...) }))
			},
		})).Apply(t.Context())
		if done = err == nil; !done && !errors.Is(err, errKilled) {
			t.Fatalf("after %d writes: %v", after, err)
		}
		b.sound(t, after)
		if err := b.uninstaller(b.client).Apply(t.Context()); err != nil {
			t.Fatalf("cut short after %d writes and repeated: %v", after, err)
		}
		if diff := cmp.Diff(b.contents(b.before), b.contents(b.dump(t))); diff != "" {
			t.Fatalf("cut short after %d writes and repeated (-before +after):\n%s", after, diff)
		}
		if done {
			t.Logf("cut short after each of %d writes, in steps of %d", writes, step)
			if writes < 10 {
				t.Errorf("only %d writes", writes)
			}
		}
	}
}

// write writes unless all has ended.
func write(alive bool, f func() error) error {
	if !alive {
		return nil
	}
	return f()
}

func (b *uninstallBed) uninstaller(c client.Client) *uninstall.Uninstaller {
	return uninstall.New(uninstall.Options{
		Client: c,
		Install: certificate.WebhookConfigurations{
			Mutating: "meshfence", Validating: "meshfence", Service: client.ObjectKey{Namespace: "meshfence-system", Name: "meshfence"},
		},
		Config: &policy.Config{IstioNamespace: "istio-system", ClusterDomain: "cluster.local"},
		Settle: time.Millisecond, Wait: time.Minute, Out: io.Discard,
	})
}

// restore makes all as it was when it was fenced. No replica runs.
func (b *uninstallBed) restore(t *testing.T, fenced, install []unstructured.Unstructured) {
	t.Helper()
	for _, u := range append(fenced[:len(fenced):len(fenced)], install...) {
		u = *u.DeepCopy()
		for _, field := range []string{"resourceVersion", "uid", "managedFields", "ownerReferences"} {
			unstructured.RemoveNestedField(u.Object, "metadata", field)
		}
		old := u.DeepCopy()
		err := b.client.Get(t.Context(), client.ObjectKeyFromObject(&u), old)
		if err == nil {
			u.SetResourceVersion(old.GetResourceVersion())
			err = b.client.Update(t.Context(), &u)
		} else {
			err = b.client.Create(t.Context(), &u)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	b.kubectl(t, "", "scale", "deployment", "meshfence", "-n", "meshfence-system", "--replicas=2")
}

// sound fails if a route leads to a reserved subset that is not there, or an ordinary object is refused once the first
// write is made.
func (b *uninstallBed) sound(t *testing.T, after int) {
	t.Helper()
	has := map[string]bool{}
	objects := b.list(t)
	for _, u := range objects {
		if text := fmt.Sprint(u.Object["spec"]); u.GetKind() == "DestinationRule" && strings.Contains(text, policy.ReservedSubset) {
			host, _, _ := unstructured.NestedString(u.Object, "spec", "host")
			name, _, _ := strings.Cut(host, ".")
			has[u.GetNamespace()+"/"+name] = true
		}
	}
	for _, u := range objects {
		if u.GetKind() != "VirtualService" {
			continue
		}
		http, _, _ := unstructured.NestedSlice(u.Object, "spec", "http")
		for _, r := range http {
			route, _, _ := unstructured.NestedSlice(r.(map[string]any), "route") // the schema says so
			for _, d := range route {
				host, _, _ := unstructured.NestedString(d.(map[string]any), "destination", "host") // the same
				subset, _, _ := unstructured.NestedString(d.(map[string]any), "destination", "subset")
				name, _, _ := strings.Cut(host, ".")
				if subset == policy.ReservedSubset && !has[u.GetNamespace()+"/"+name] {
					t.Errorf("after %d writes %s/%s leads to a subset of %s that is not there", after, u.GetNamespace(), u.GetName(), host)
				}
			}
		}
	}
	if after == 0 {
		return // the configurations stand, and the test has ended the replicas
	}
	const rule = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: ordinary, namespace: default}, spec: {host: example.com}}"
	eventually(t, "an ordinary object passes", func(ctx context.Context) error {
		_, _, err := b.Kubectl(ctx, rule, "create", "--dry-run=server", "-f", "-")
		return err
	})
}

// contents leaves out of objects what is not the same when they are made anew.
func (b *uninstallBed) contents(objects map[string]any) map[string]any {
	contents := map[string]any{}
	for name, o := range objects {
		u := (&unstructured.Unstructured{Object: o.(map[string]any)}).DeepCopy() // dump puts in no other
		for _, field := range []string{"uid", "creationTimestamp", "managedFields"} {
			unstructured.RemoveNestedField(u.Object, "metadata", field)
		}
		contents[name] = u.Object
	}
	return contents
}
