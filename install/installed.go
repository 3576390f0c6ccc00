package install

import (
	"context"
	"fmt"
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
)

// Installed is what an installation before this one has left to go on from; empty where there is none.
type Installed struct {
	// Tenant is the namespace of the installation that the API server calls.
	Tenant string
	// Image and Certificates are those of the Deployment in the namespace that was asked for, and MetricsAuth reports whether
	// its metrics are for readers alone.
	Image, Certificates string
	MetricsAuth         bool
}

// Find looks for an installation in a namespace, and for the one that the API server calls.
func Find(ctx context.Context, reader client.Reader, namespace string) (Installed, error) {
	var found Installed
	var configuration admissionv1.ValidatingWebhookConfiguration
	if err := reader.Get(ctx, client.ObjectKey{Name: policy.InstallName}, &configuration); client.IgnoreNotFound(err) != nil {
		return found, fmt.Errorf("look for an installation: %w", err)
	}
	for _, w := range configuration.Webhooks {
		if w.ClientConfig.Service != nil {
			found.Tenant = w.ClientConfig.Service.Namespace
		}
	}
	var deployment appsv1.Deployment
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: policy.InstallName}, &deployment)
	if client.IgnoreNotFound(err) != nil {
		return found, fmt.Errorf("look for an installation: %w", err)
	}
	if err == nil {
		found.Certificates, found.MetricsAuth = CertificatesOf(&deployment), HasMetricsAuth(deployment.Spec.Template.Spec)
		for _, c := range deployment.Spec.Template.Spec.Containers {
			found.Image = c.Image
		}
	}
	return found, nil
}

// CertificatesOf returns the way in which a Deployment gets its certificates: SelfSigned or CertManager.
func CertificatesOf(d *appsv1.Deployment) string {
	for _, c := range d.Spec.Template.Spec.Containers {
		if slices.Contains(c.Args, "--certificates=mounted") {
			return CertManager
		}
	}
	return SelfSigned
}

// MetricsReader is the ServiceAccount that the component metrics-auth lets read metrics.
const MetricsReader = policy.InstallName + "-metrics-reader"

// HasMetricsAuth reports whether Pods serve their metrics to readers alone.
func HasMetricsAuth(pod corev1.PodSpec) bool {
	return slices.ContainsFunc(pod.Containers, func(c corev1.Container) bool {
		return slices.Contains(c.Args, "--metrics-auth") || slices.Contains(c.Args, "--metrics-auth=true")
	})
}
