package certificate_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/meshfence/meshfence/webhook/certificate"
)

func TestCABundle(t *testing.T) {
	t.Parallel()
	now := time.Now()
	aged := func(name string, age time.Duration) keyPair { return newCA(t, name, now.Add(-age), now.Add(time.Hour)) }
	current, former, older := aged("current", time.Minute), aged("former", time.Hour), aged("older", 2*time.Hour)
	oldest, ancient := aged("oldest", 3*time.Hour), aged("ancient", 4*time.Hour)
	newer := aged("newer", time.Second)
	expired := newCA(t, "expired", now.Add(-2*time.Hour), now)
	leaf := newKeyPair(t, &x509.Certificate{NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: older.certificate.Raw})
	noDER := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("none")})

	for name, c := range map[string]struct {
		current keyPair
		former  [][]byte
		want    []string
	}{
		"nothing yet":            {current, nil, []string{"current"}},
		"reset":                  {current, [][]byte{nil, {}, []byte("\n")}, []string{"current"}},
		"already there":          {current, [][]byte{current.PEM()}, []string{"current"}},
		"rotated":                {current, [][]byte{former.PEM()}, []string{"current", "former"}},
		"wrong order":            {current, [][]byte{append(former.PEM(), current.PEM()...)}, []string{"current", "former"}},
		"several bundles":        {current, [][]byte{former.PEM(), older.PEM(), former.PEM()}, []string{"current", "former", "older"}},
		"the newest are kept":    {current, [][]byte{ancient.PEM(), oldest.PEM(), older.PEM(), former.PEM()}, []string{"current", "former", "older", "oldest"}},
		"restored from a backup": {current, [][]byte{newer.PEM()}, []string{"current", "newer"}},
		"expired":                {current, [][]byte{append(expired.PEM(), former.PEM()...)}, []string{"current", "former"}},
		"not a CA":               {current, [][]byte{leaf.PEM()}, []string{"current"}},
		"garbage around": {
			current,
			[][]byte{bytes.Join([][]byte{[]byte("# comment"), noDER, key, []byte("-----BEGIN CERTIFICATE-----\n%"), former.PEM(), {0xff}}, []byte("\n"))},
			[]string{"current", "former"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := certificate.CABundle(now, c.current.PEM(), c.former...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, caNames(t, got)); diff != "" {
				t.Errorf("CABundle (-want +got):\n%s", diff)
			}
			again, err := certificate.CABundle(now, c.current.PEM(), append([][]byte{got, got}, c.former...)...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(got), string(again)); diff != "" {
				t.Errorf("CABundle of its result (-want +got):\n%s", diff)
			}
		})
	}

	for name, bad := range map[string][]byte{
		"empty": nil, "garbage": []byte("none"), "expired": expired.PEM(), "not a CA": leaf.PEM(),
	} {
		t.Run("current is "+name, func(t *testing.T) {
			t.Parallel()
			if got, err := certificate.CABundle(now, bad, former.PEM()); err == nil {
				t.Errorf("CABundle = %q, want an error", got)
			}
		})
	}
}

// caNames returns the common names in a bundle that must hold nothing but certificates.
func caNames(t *testing.T, bundle []byte) []string {
	t.Helper()
	var names []string
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, certificate.Subject.CommonName)
	}
	return names
}

// keeperCase is a keeper and the API server that it writes to.
type keeperCase struct {
	client.Client
	keeper  *certificate.CABundleKeeper
	patches int
	before  func() // called before a patch, once
}

func newKeeper(t *testing.T, objects ...client.Object) *keeperCase {
	t.Helper()
	k := &keeperCase{}
	k.Client = fake.NewClientBuilder().WithObjects(objects...).WithInterceptorFuncs(interceptor.Funcs{
		Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
			k.patches++
			if before := k.before; before != nil {
				k.before = nil
				before()
			}
			return c.Patch(ctx, o, p, opts...)
		},
	}).Build()
	k.keeper = &certificate.CABundleKeeper{
		Client: k.Client, Secret: client.ObjectKey{Namespace: "meshfence", Name: "fence-ca"},
		Lookout: certificate.Lookout{Configurations: ourConfigurations},
	}
	return k
}

func caSecret(ca keyPair) *corev1.Secret {
	var s corev1.Secret
	s.Namespace, s.Name = "meshfence", "fence-ca"
	s.Data = map[string][]byte{"tls.crt": ca.PEM()}
	return &s
}

// reconcile expects success and this many patches.
func (k *keeperCase) reconcile(t *testing.T, patches int) {
	t.Helper()
	k.patches = 0
	if _, err := k.keeper.Reconcile(t.Context(), reconcile.Request{}); err != nil {
		t.Fatal(err)
	}
	if k.patches != patches {
		t.Errorf("Reconcile sent %d patches, want %d", k.patches, patches)
	}
}

// bundles returns the names in every caBundle of both configurations.
func (k *keeperCase) bundles(t *testing.T) [][]string {
	t.Helper()
	m, v := mutatingWith(), validatingWith()
	for _, o := range []client.Object{m, v} {
		if err := client.IgnoreNotFound(k.Get(t.Context(), client.ObjectKeyFromObject(o), o)); err != nil {
			t.Fatal(err)
		}
	}
	var out [][]string
	for _, w := range m.Webhooks {
		out = append(out, caNames(t, w.ClientConfig.CABundle))
	}
	for _, w := range v.Webhooks {
		out = append(out, caNames(t, w.ClientConfig.CABundle))
	}
	return out
}

func (k *keeperCase) want(t *testing.T, when string, bundles ...[]string) {
	t.Helper()
	if diff := cmp.Diff(bundles, k.bundles(t)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", when, diff)
	}
}

func TestCABundleKeeper(t *testing.T) {
	t.Parallel()
	now := time.Now()
	first := newCA(t, "first", now.Add(-time.Hour), now.Add(time.Hour))
	second := newCA(t, "second", now, now.Add(2*time.Hour))
	k := newKeeper(t, mutatingWith(nil, []byte("\n")), validatingWith(nil))

	k.reconcile(t, 0)
	k.want(t, "before there is a CA", nil, nil, nil)

	if err := k.Create(t.Context(), caSecret(first)); err != nil {
		t.Fatal(err)
	}
	k.reconcile(t, 2)
	one := []string{"first"}
	k.want(t, "first CA", one, one, one)
	k.reconcile(t, 0)

	replaceObject(t, k, caSecret(second))
	k.reconcile(t, 2)
	two := []string{"second", "first"}
	k.want(t, "rotated", two, two, two)
	k.reconcile(t, 0)

	replaceObject(t, k, mutatingWith(nil, second.PEM()))
	k.reconcile(t, 1)
	k.want(t, "one configuration reset but for the CA", two, []string{"second"}, two)

	for _, o := range []client.Object{mutatingWith(nil), validatingWith(nil, []byte("garbage"))} {
		replaceObject(t, k, o)
	}
	k.reconcile(t, 2)
	k.want(t, "both reset", two, two, two)

	if err := k.Delete(t.Context(), mutatingWith()); err != nil {
		t.Fatal(err)
	}
	k.reconcile(t, 0)
	k.want(t, "one configuration deleted", two, two)
}

// A leader that has just started knows the former CA from what the other configuration holds.
func TestCABundleKeeperStartsWithOneConfigurationReset(t *testing.T) {
	t.Parallel()
	now := time.Now()
	former := newCA(t, "former", now.Add(-time.Hour), now.Add(time.Hour))
	current := newCA(t, "current", now, now.Add(time.Hour))
	k := newKeeper(t, caSecret(current), mutatingWith(nil), validatingWith(former.PEM()))
	k.reconcile(t, 2)
	want := []string{"current", "former"}
	k.want(t, "both", want, want)
}

func TestCABundleKeeperKeepsAnotherWritersEdit(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "ca", time.Now(), time.Now().Add(time.Hour))
	k := newKeeper(t, caSecret(ca), mutatingWith(nil), validatingWith(ca.PEM()))
	k.before = func() {
		edited := mutatingWith(nil, nil)
		edited.Webhooks[0].FailurePolicy = new(admissionv1.Ignore)
		replaceObject(t, k, edited)
	}
	if _, err := k.keeper.Reconcile(t.Context(), reconcile.Request{}); !apierrors.IsConflict(err) {
		t.Fatalf("Reconcile: %v, want a conflict", err)
	}
	k.reconcile(t, 1)
	one := []string{"ca"}
	k.want(t, "after the conflict", one, one, one)
	var got admissionv1.MutatingWebhookConfiguration
	if err := k.Get(t.Context(), client.ObjectKey{Name: ourConfigurations.Mutating}, &got); err != nil {
		t.Fatal(err)
	}
	if p := got.Webhooks[0].FailurePolicy; p == nil || *p != admissionv1.Ignore {
		t.Errorf("failurePolicy = %v, want Ignore", p)
	}
}

func TestCABundleKeeperBadCA(t *testing.T) {
	t.Parallel()
	expired := newCA(t, "expired", time.Now().Add(-time.Hour), time.Now().Add(-time.Minute))
	former := newCA(t, "former", time.Now(), time.Now().Add(time.Hour))
	k := newKeeper(t, caSecret(expired), mutatingWith(former.PEM()), validatingWith(former.PEM()))
	if _, err := k.keeper.Reconcile(t.Context(), reconcile.Request{}); err == nil {
		t.Error("an expired CA was taken")
	}
	k.want(t, "untouched", []string{"former"}, []string{"former"})
}

// Whoever adds to a bundle that holds our CA is left alone.
func TestCABundleKeeperLeavesAdditions(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "ca", time.Now(), time.Now().Add(time.Hour))
	other := newCA(t, "other", time.Now(), time.Now().Add(time.Hour))
	k := newKeeper(t, caSecret(ca), mutatingWith(slices.Concat(other.PEM(), ca.PEM())), validatingWith(ca.PEM()))
	k.reconcile(t, 0)
	k.want(t, "untouched", []string{"other", "ca"}, []string{"ca"})
}

// Two keepers of different CAs come to rest, each with its own in every bundle.
func TestCABundleKeepersRest(t *testing.T) {
	t.Parallel()
	now := time.Now()
	k := newKeeper(t, caSecret(newCA(t, "ours", now, now.Add(time.Hour))), mutatingWith(nil), validatingWith(nil))
	secret := caSecret(newCA(t, "theirs", now, now.Add(time.Hour)))
	secret.Name = "other-ca"
	if err := k.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	other := *k.keeper
	other.Secret.Name = "other-ca"
	for range 20 {
		for _, keeper := range []*certificate.CABundleKeeper{k.keeper, &other} {
			if _, err := keeper.Reconcile(t.Context(), reconcile.Request{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if k.patches != 4 {
		t.Errorf("%d patches, want one of each for each configuration", k.patches)
	}
	both := []string{"theirs", "ours"}
	k.want(t, "at rest", both, both)
}

// A writer that takes our CA out each time is told of, and answered ever more slowly.
func TestCABundleKeeperYields(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		ca, other := newCA(t, "ca", now, now.Add(time.Hour)), newCA(t, "other", now, now.Add(time.Hour))
		k := newKeeper(t, caSecret(ca), mutatingWith(other.PEM()), validatingWith(ca.PEM()))
		var told []string
		k.keeper.Tell = func(o client.Object, reason, _ string) { told = append(told, o.GetName()+" "+reason) }
		k.keeper.Yields = prometheus.NewGauge(prometheus.GaugeOpts{Name: "yields"})
		for range 40 * 10 { // 40 seconds
			result, err := k.keeper.Reconcile(t.Context(), reconcile.Request{})
			if err != nil {
				t.Fatal(err)
			}
			if result.RequeueAfter <= 0 {
				t.Fatal("it does not come back")
			}
			replaceObject(t, k, mutatingWith(other.PEM()))
			time.Sleep(100 * time.Millisecond)
		}
		if k.patches != 11 { // six at once, then after 1, 2, 4, 8 and 16 seconds
			t.Errorf("%d patches in 40 seconds", k.patches)
		}
		if diff := cmp.Diff([]string{ourConfigurations.Mutating + " ContestedCABundle"}, told); diff != "" {
			t.Errorf("told (-want +got):\n%s", diff)
		}
		if got := testutil.ToFloat64(k.keeper.Yields); got != 1 {
			t.Errorf("%v configurations are yielded, want 1", got)
		}
	})
}

// Configurations that call another Service are another installation's.
func TestCABundleKeeperLeavesAnotherInstallation(t *testing.T) {
	t.Parallel()
	ca := newCA(t, "ca", time.Now(), time.Now().Add(time.Hour))
	mutating, validating := mutatingWith(nil), validatingWith(nil, nil)
	mutating.Webhooks[0].ClientConfig.Service = &admissionv1.ServiceReference{Namespace: "first", Name: "fence"}
	validating.Webhooks[0].ClientConfig.Service = &admissionv1.ServiceReference{Namespace: "first", Name: "fence"}
	validating.Webhooks[1].ClientConfig.Service = &admissionv1.ServiceReference{Namespace: "second", Name: "fence"}
	k := newKeeper(t, caSecret(ca), mutating, validating)
	k.keeper.Configurations.Service = client.ObjectKey{Namespace: "second", Name: "fence"}
	var told []string
	k.keeper.Tell = func(o client.Object, reason, note string) { told = append(told, o.GetName()+" "+reason+" "+note) }
	k.keeper.Tenant = &certificate.Tenant{}
	k.reconcile(t, 1)
	k.reconcile(t, 0)
	k.want(t, "its own webhook alone", nil, nil, []string{"ca"})
	if !k.keeper.Tenant.Known() || !k.keeper.Tenant.Another() {
		t.Error("nobody hears of the other installation")
	}
	want := []string{ourConfigurations.Mutating + " ForeignWebhookConfiguration its webhooks call Service first/fence and not second/fence: " +
		"another installation of meshfence has the cluster, and this one leaves it alone; remove one of them"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	replaceObject(t, k, mutatingWith(ca.PEM()))
	k.reconcile(t, 0)
	if k.keeper.Tenant.Another() {
		t.Error("the other installation has gone, and this one still yields")
	}
}
