package certificate_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/webhook/certificate"
)

// memoryAuthority signs as cert-manager's DynamicAuthority does, without an API server.
type memoryAuthority struct {
	leafDuration time.Duration

	mu     sync.Mutex
	ca     keyPair
	serial int64
	watch  chan<- struct{}
}

func (a *memoryAuthority) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (a *memoryAuthority) WatchRotation(ch chan<- struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watch = ch
}

func (a *memoryAuthority) StopWatchingRotation(chan<- struct{}) {}

func (a *memoryAuthority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serial++
	template.SerialNumber = big.NewInt(a.serial)
	template.NotBefore = time.Now()
	template.NotAfter = template.NotBefore.Add(a.leafDuration)
	der, err := x509.CreateCertificate(rand.Reader, template, a.ca.certificate, template.PublicKey.(crypto.PublicKey), a.ca.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func (a *memoryAuthority) rotate(ca keyPair) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ca = ca
	a.watch <- struct{}{}
}

// publishedCluster is an API server's two webhook configurations, and a source that is published there.
type publishedCluster struct {
	client.Client
	*certificate.PublishedSource
	signer *memoryAuthority
}

var ourConfigurations = certificate.WebhookConfigurations{Mutating: "fence-mutating", Validating: "fence-validating"}

func newPublishedCluster(t *testing.T, ca keyPair, leafDuration time.Duration) *publishedCluster {
	t.Helper()
	c := &publishedCluster{
		Client: fake.NewClientBuilder().WithObjects(mutatingWith(ca.PEM()), validatingWith(ca.PEM())).Build(),
		signer: &memoryAuthority{ca: ca, leafDuration: leafDuration},
	}
	trust := func(ctx context.Context, leaf *x509.Certificate) error {
		return ourConfigurations.Trust(ctx, c.Client, leaf)
	}
	c.PublishedSource = certificate.NewPublishedSource(c.signer, trust, 10*time.Second, logr.Discard(), "fence.meshfence.svc")
	return c
}

// mutatingWith returns a configuration with one webhook for each bundle.
func mutatingWith(bundles ...[]byte) *admissionv1.MutatingWebhookConfiguration {
	var m admissionv1.MutatingWebhookConfiguration
	m.Name = ourConfigurations.Mutating
	for i, bundle := range bundles {
		m.Webhooks = append(m.Webhooks, admissionv1.MutatingWebhook{
			Name: string(rune('a'+i)) + ".meshfence.io", ClientConfig: admissionv1.WebhookClientConfig{CABundle: bundle},
		})
	}
	return &m
}

// validatingWith is mutatingWith for the other kind.
func validatingWith(bundles ...[]byte) *admissionv1.ValidatingWebhookConfiguration {
	var v admissionv1.ValidatingWebhookConfiguration
	v.Name = ourConfigurations.Validating
	for i, bundle := range bundles {
		v.Webhooks = append(v.Webhooks, admissionv1.ValidatingWebhook{
			Name: string(rune('a'+i)) + ".meshfence.io", ClientConfig: admissionv1.WebhookClientConfig{CABundle: bundle},
		})
	}
	return &v
}

func (c *publishedCluster) apply(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		replaceObject(t, c, o)
	}
}

// replaceObject overwrites what is under the name of o.
func replaceObject(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	old := o.DeepCopyObject().(client.Object)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(o), old); err != nil {
		t.Fatal(err)
	}
	o.SetResourceVersion(old.GetResourceVersion())
	if err := c.Update(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func (c *publishedCluster) leaf(t *testing.T) *x509.Certificate {
	t.Helper()
	certificate, err := c.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if now, leaf := time.Now(), certificate.Leaf; now.After(leaf.NotAfter) {
		t.Fatalf("%s: served a certificate that expired at %s", now, leaf.NotAfter)
	}
	return certificate.Leaf
}

func yearCA(t *testing.T, name string) keyPair {
	t.Helper()
	return newCA(t, name, time.Now(), time.Now().Add(365*24*time.Hour))
}

func TestPublishedSourceRenewsBeforeExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const week = 7 * 24 * time.Hour
		c := newPublishedCluster(t, yearCA(t, "ca"), week)
		startSource(t, c)
		serials := map[string]bool{}
		for end := time.Now().Add(4 * week); time.Now().Before(end); time.Sleep(time.Hour) {
			leaf := c.leaf(t)
			serials[leaf.SerialNumber.String()] = true
			if left := time.Until(leaf.NotAfter); left < week/3-time.Hour {
				t.Fatalf("served with %s left, want renewal with a third of %s left", left, week)
			}
		}
		if got, want := len(serials), 6; got != want {
			t.Errorf("served %d certificates in four weeks, want %d", got, want)
		}
	})
}

func TestPublishedSourceGraceOfARenewal(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newPublishedCluster(t, yearCA(t, "ca"), time.Hour)
		startSource(t, c)
		first := c.leaf(t)
		time.Sleep(40*time.Minute + 9*time.Second) // renewed at two thirds
		if !c.leaf(t).Equal(first) {
			t.Error("a renewed certificate was served before the grace period ended")
		}
		time.Sleep(2 * time.Second)
		if c.leaf(t).Equal(first) {
			t.Error("the renewed certificate was not served after the grace period")
		}
	})
}

func TestPublishedSourceRotation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first := yearCA(t, "first")
		c := newPublishedCluster(t, first, 7*24*time.Hour)
		startSource(t, c)
		old := c.leaf(t)
		mustStayOld := func(when string) {
			t.Helper()
			if !c.leaf(t).Equal(old) {
				t.Errorf("%s: another certificate was served", when)
			}
		}

		second := yearCA(t, "second")
		both := append(second.PEM(), first.PEM()...)
		c.signer.rotate(second)
		time.Sleep(time.Minute)
		mustStayOld("nowhere published")
		c.apply(t, mutatingWith(both), validatingWith(first.PEM()))
		time.Sleep(time.Minute)
		mustStayOld("published in one configuration")
		c.apply(t, validatingWith(both, first.PEM()))
		time.Sleep(time.Minute)
		mustStayOld("published in all webhooks but one")
		c.apply(t, validatingWith(both, both))
		time.Sleep(9 * time.Second)
		mustStayOld("in the grace period")
		time.Sleep(3 * time.Second)
		if err := c.leaf(t).CheckSignatureFrom(second.certificate); err != nil {
			t.Errorf("after the grace period: not signed by the new CA: %v", err)
		}
	})
}

func TestPublishedSourceRotatesTwiceInAGracePeriod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		first, second, third := yearCA(t, "first"), yearCA(t, "second"), yearCA(t, "third")
		all := append(append(third.PEM(), second.PEM()...), first.PEM()...)
		c := newPublishedCluster(t, first, 7*24*time.Hour)
		startSource(t, c)
		old := c.leaf(t)
		c.apply(t, mutatingWith(all), validatingWith(all))
		c.signer.rotate(second)
		time.Sleep(5 * time.Second)
		c.signer.rotate(third)
		time.Sleep(8 * time.Second) // the second CA's certificate would be old enough by now
		if !c.leaf(t).Equal(old) {
			t.Error("the old certificate was replaced before the newest is old enough")
		}
		time.Sleep(3 * time.Second)
		if err := c.leaf(t).CheckSignatureFrom(third.certificate); err != nil {
			t.Errorf("after the grace period: not signed by the newest CA: %v", err)
		}
	})
}

func TestPublishedSourceFirstCertificate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ca := yearCA(t, "ca")
		c := newPublishedCluster(t, ca, time.Minute)
		c.apply(t, mutatingWith(nil), validatingWith(nil))
		startSource(t, c)
		time.Sleep(10 * time.Second)
		if c.Healthy() {
			t.Fatal("a certificate was issued that nobody trusts")
		}
		c.apply(t, mutatingWith(ca.PEM()), validatingWith(ca.PEM()))
		time.Sleep(2 * time.Second)
		c.leaf(t) // with nothing else to serve there is no grace period

		c.apply(t, mutatingWith(nil), validatingWith(nil))
		time.Sleep(2 * time.Minute)
		c.apply(t, mutatingWith(ca.PEM()), validatingWith(ca.PEM()))
		time.Sleep(2 * time.Second)
		c.leaf(t) // fails when the expired one is served for a grace period
	})
}

func TestTrust(t *testing.T) {
	t.Parallel()
	now := time.Now()
	ours, other := newCA(t, "ca", now, now.Add(time.Hour)), newCA(t, "ca", now, now.Add(time.Hour))
	signer := memoryAuthority{ca: ours, leafDuration: time.Hour}
	leaf, err := signer.Sign(&x509.Certificate{
		PublicKey: ours.key.Public(), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		objects []client.Object
		trusted bool
	}{
		"both":                             {[]client.Object{mutatingWith(ours.PEM()), validatingWith(ours.PEM())}, true},
		"among others":                     {[]client.Object{mutatingWith(append(other.PEM(), ours.PEM()...)), validatingWith(ours.PEM())}, true},
		"mutating missing there":           {[]client.Object{mutatingWith(other.PEM()), validatingWith(ours.PEM())}, false},
		"validating missing there":         {[]client.Object{mutatingWith(ours.PEM()), validatingWith(other.PEM())}, false},
		"empty bundle":                     {[]client.Object{mutatingWith(ours.PEM()), validatingWith(nil)}, false},
		"second webhook missing it":        {[]client.Object{mutatingWith(ours.PEM(), other.PEM()), validatingWith(ours.PEM())}, false},
		"one configuration does not exist": {[]client.Object{mutatingWith(ours.PEM())}, true},
		"the one that exists lacks it":     {[]client.Object{validatingWith(other.PEM())}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := ourConfigurations.Trust(t.Context(), fake.NewClientBuilder().WithObjects(c.objects...).Build(), leaf)
			if (err == nil) != c.trusted {
				t.Errorf("Trust: %v, want trusted %t", err, c.trusted)
			}
		})
	}
}
