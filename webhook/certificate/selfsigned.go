package certificate

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
)

// SelfSignedOptions says what SelfSigned issues, and where its CA is kept and published.
type SelfSignedOptions struct {
	Namespace     string // of the Service and the Secret
	Service       string
	ClusterDomain string // default cluster.local
	Lookout

	// WatchErrors is what the informers call when a watch fails; that of client-go unless set.
	WatchErrors toolscache.WatchErrorHandlerWithContext

	DNSNames   []string // besides the Service's, for a webhook that is called by URL
	Secret     string   // default <Service>-ca
	CommonName string   // of the CA; default <Service>-ca

	CADuration   time.Duration // default a year; renewed after two thirds
	LeafDuration time.Duration // default 7 days; renewed after two thirds
	Grace        time.Duration // age at which a new certificate replaces a valid one; default 10 s
}

func (o SelfSignedOptions) withDefaults() SelfSignedOptions {
	setDefault(&o.ClusterDomain, "cluster.local")
	setDefault(&o.Secret, o.Service+"-ca")
	setDefault(&o.CommonName, o.Service+"-ca")
	setDefault(&o.CADuration, 365*24*time.Hour)
	setDefault(&o.LeafDuration, 7*24*time.Hour)
	setDefault(&o.Grace, 10*time.Second)
	o.Configurations.Service = client.ObjectKey{Namespace: o.Namespace, Name: o.Service}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o SelfSignedOptions) validate() error {
	var problems []error
	for _, required := range []struct{ field, value string }{
		{"Namespace", o.Namespace},
		{"Service", o.Service},
		{"Configurations.Mutating", o.Configurations.Mutating},
		{"Configurations.Validating", o.Configurations.Validating},
	} {
		if required.value == "" {
			problems = append(problems, fmt.Errorf("%s must be set", required.field))
		}
	}
	// A CA is replaced with a third of its life left: what it signed last must end by then.
	if o.LeafDuration > o.CADuration/3 {
		problems = append(problems, fmt.Errorf("LeafDuration must be at most a third of CADuration %s: %s", o.CADuration, o.LeafDuration))
	}
	// A certificate is replaced with a third of its life left.
	if o.Grace < 0 || o.Grace > o.LeafDuration/3 {
		//nolint:staticcheck // the message starts with the name of a field
		problems = append(problems, fmt.Errorf("Grace must be positive and at most a third of LeafDuration %s: %s", o.LeafDuration, o.Grace))
	}
	return errors.Join(problems...)
}

// SelfSigned issues serving certificates from a CA that the replicas share through a Secret, which the first of them makes.
// It adds to mgr the source, on every replica, and the CABundleKeeper, on the leader.
//
// Only the CA is in the Secret: each replica makes a certificate of its own, so that no serving key ever leaves its process.
func SelfSigned(mgr ctrl.Manager, o SelfSignedOptions) (*Serving, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	objects, err := o.watch(mgr)
	if err != nil {
		return nil, err
	}
	if err := o.addKeeper(mgr, objects); err != nil {
		return nil, err
	}
	signer := &authority.DynamicAuthority{
		SecretNamespace: o.Namespace,
		SecretName:      o.Secret,
		SecretLabels:    map[string]string{"app.kubernetes.io/managed-by": "meshfence"},
		RESTConfig:      mgr.GetConfig(),
		CommonName:      o.CommonName,
		CADuration:      o.CADuration,
		LeafDuration:    o.LeafDuration,
	}
	trust := func(ctx context.Context, leaf *x509.Certificate) error {
		return o.Configurations.Trust(ctx, objects.GetClient(), leaf)
	}
	name := o.Service + "." + o.Namespace + ".svc"
	names := append([]string{name, name + "." + o.ClusterDomain}, o.DNSNames...)
	return addServing(mgr, NewPublishedSource(signer, trust, o.Grace, mgr.GetLogger().WithName("certificates"), names...), o.observe(objects.GetClient()))
}

// watch adds to mgr a cache of its own for the three objects, since the manager's would watch every Secret.
func (o SelfSignedOptions) watch(mgr ctrl.Manager) (cluster.Cluster, error) {
	objects, err := cluster.New(mgr.GetConfig(), func(c *cluster.Options) {
		c.Scheme = scheme.Scheme
		c.HTTPClient = mgr.GetHTTPClient()
		c.MapperProvider = func(*rest.Config, *http.Client) (meta.RESTMapper, error) { return mgr.GetRESTMapper(), nil }
		c.Logger = mgr.GetLogger()
		c.Cache.DefaultWatchErrorHandler = o.WatchErrors
		c.Cache.ByObject = map[client.Object]cache.ByObject{
			&corev1.Secret{}: {
				Namespaces: map[string]cache.Config{o.Namespace: {FieldSelector: byName(o.Secret)}},
				Transform:  dropPrivateKey,
			},
			&admissionv1.MutatingWebhookConfiguration{}:   {Field: byName(o.Configurations.Mutating)},
			&admissionv1.ValidatingWebhookConfiguration{}: {Field: byName(o.Configurations.Validating)},
		}
	})
	if err != nil {
		return nil, fmt.Errorf("watch the CA and the webhook configurations: %w", err)
	}
	if err := mgr.Add(objects); err != nil {
		return nil, fmt.Errorf("add the watch of the CA and the webhook configurations to the manager: %w", err)
	}
	return objects, nil
}

func byName(name string) fields.Selector { return fields.OneTermEqualSelector("metadata.name", name) }

func dropPrivateKey(o any) (any, error) {
	if secret, ok := o.(*corev1.Secret); ok {
		delete(secret.Data, corev1.TLSPrivateKeyKey)
	}
	return o, nil
}

func (o SelfSignedOptions) addKeeper(mgr ctrl.Manager, objects cluster.Cluster) error {
	o.Tell = teller(mgr)
	runner := &keeperRunner{
		keeper: &CABundleKeeper{
			Lookout: o.Lookout,
			Client:  objects.GetClient(),
			Secret:  client.ObjectKey{Namespace: o.Namespace, Name: o.Secret},
		},
		cache: objects.GetCache(),
		log:   mgr.GetLogger().WithName("webhook-ca-bundle"),
	}
	if err := mgr.Add(runner); err != nil {
		return fmt.Errorf("add the keeper of caBundles to the manager: %w", err)
	}
	return nil
}

// teller makes Events about webhook configurations.
func teller(mgr ctrl.Manager) func(about client.Object, reason, note string) {
	recorder := mgr.GetEventRecorder("meshfence")
	return func(about client.Object, reason, note string) {
		recorder.Eventf(about, nil, corev1.EventTypeWarning, reason, "WriteCABundle", "%s", note)
	}
}
