package certificate_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/meshfence/meshfence/webhook/certificate"
)

// Who keeps no caBundle, because cert-manager does, sees another installation all the same.
func TestLookout(t *testing.T) {
	t.Parallel()
	called := func(namespace string) *admissionv1.ValidatingWebhookConfiguration {
		c := validatingWith(nil)
		c.Webhooks[0].ClientConfig.Service = &admissionv1.ServiceReference{Namespace: namespace, Name: "fence"}
		return c
	}
	reader := func(objects ...client.Object) client.Reader {
		return fake.NewClientBuilder().WithObjects(objects...).Build()
	}
	forbidden := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return apierrors.NewForbidden(schema.GroupResource{}, "fence", nil)
		},
	})
	for name, test := range map[string]struct {
		reader  client.Reader
		another bool
		yields  float64
		told    []string
		fails   bool
	}{
		"none is there":        {reader: reader()},
		"ours":                 {reader: reader(called("second"))},
		"another's":            {reader: reader(called("first")), another: true, yields: 1, told: []string{"ForeignWebhookConfiguration"}},
		"without the right to": {reader: forbidden, fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var told []string
			l := certificate.Lookout{
				Configurations: ourConfigurations, Tenant: &certificate.Tenant{},
				Yields: prometheus.NewGauge(prometheus.GaugeOpts{Name: "yields"}),
				Tell:   func(_ client.Object, reason, _ string) { told = append(told, reason) },
			}
			l.Configurations.Service = client.ObjectKey{Namespace: "second", Name: "fence"}
			for range 2 {
				if err := l.Look(t.Context(), test.reader); (err != nil) != test.fails {
					t.Errorf("error %v", err)
				}
			}
			if !l.Tenant.Known() || l.Tenant.Another() != test.another {
				t.Errorf("known %t, another %t", l.Tenant.Known(), l.Tenant.Another())
			}
			if got := testutil.ToFloat64(l.Yields); got != test.yields {
				t.Errorf("%v configurations are yielded, want %v", got, test.yields)
			}
			if diff := cmp.Diff(test.told, told); diff != "" {
				t.Errorf("told (-want +got):\n%s", diff)
			}
		})
	}
}
