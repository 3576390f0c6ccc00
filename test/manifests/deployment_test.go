package manifests_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func TestDeployment(t *testing.T) {
	t.Parallel()
	for overlay, want := range map[string]struct {
		replicas int32
		image    string
		args     []string
	}{
		"self-signed": {2, "meshfence/meshfence:latest", []string{"serve", "--leader-elect", "--certificates=self-signed"}},
		"cert-manager": {2, "meshfence/meshfence:latest", []string{
			"serve", "--leader-elect", "--certificates=mounted", "--certificate-dir=/etc/meshfence/tls",
		}},
		"dev": {1, "meshfence/meshfence:dev", []string{"serve", "--leader-elect", "--certificates=self-signed", "--log-level=DEBUG"}},
	} {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			deployment := one[*appsv1.Deployment](t, overlay)
			pod := deployment.Spec.Template.Spec
			container := pod.Containers[0]
			if got := *deployment.Spec.Replicas; got != want.replicas {
				t.Errorf("replicas = %d, want %d", got, want.replicas)
			}
			if container.Image != want.image {
				t.Errorf("image = %s, want %s", container.Image, want.image)
			}
			if diff := cmp.Diff(want.args, container.Args); diff != "" {
				t.Errorf("args (-want +got):\n%s", diff)
			}
			if ids := []*int64{pod.SecurityContext.RunAsUser, pod.SecurityContext.RunAsGroup}; slices.ContainsFunc(ids, func(id *int64) bool { return id == nil || *id == 0 }) {
				t.Errorf("user and group %v, want numbers other than 0", ids)
			}
			rolling := deployment.Spec.Strategy.RollingUpdate
			if rolling.MaxUnavailable.String() != "0" || rolling.MaxSurge.String() != "1" {
				t.Errorf("rolling update with maxUnavailable %s and maxSurge %s, want 0 and 1", rolling.MaxUnavailable, rolling.MaxSurge)
			}
			// 20 seconds is the bound that serve sets itself.
			sleep := container.Lifecycle.PreStop.Sleep.Seconds
			if grace := *pod.TerminationGracePeriodSeconds; grace <= sleep+20 {
				t.Errorf("terminationGracePeriodSeconds = %d, want more than %d", grace, sleep+20)
			}
		})
	}
}

// Only the Deployment gets a token: anything else in the namespace that names the ServiceAccount does not by itself.
func TestToken(t *testing.T) {
	t.Parallel()
	for _, overlay := range overlays() {
		account := one[*corev1.ServiceAccount](t, overlay).AutomountServiceAccountToken
		pod := one[*appsv1.Deployment](t, overlay).Spec.Template.Spec.AutomountServiceAccountToken
		if account == nil || *account || pod == nil || !*pod {
			t.Errorf("overlay %s: automountServiceAccountToken must be false for the ServiceAccount and true for the Pods", overlay)
		}
	}
}

// Everything that selects the Pods selects them, and every named port exists.
func TestSelectors(t *testing.T) {
	t.Parallel()
	for _, overlay := range overlays() {
		t.Run(overlay, func(t *testing.T) {
			t.Parallel()
			deployment, service := one[*appsv1.Deployment](t, overlay), one[*corev1.Service](t, overlay)
			pod := deployment.Spec.Template
			selectors := map[string]*metav1.LabelSelector{
				"Deployment":    deployment.Spec.Selector,
				"Service":       {MatchLabels: service.Spec.Selector},
				"anti-affinity": pod.Spec.Affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution[0].PodAffinityTerm.LabelSelector,
				"zones":         pod.Spec.TopologySpreadConstraints[0].LabelSelector,
			}
			if overlay != "dev" {
				selectors["PodDisruptionBudget"] = one[*policyv1.PodDisruptionBudget](t, overlay).Spec.Selector
			}
			for name, s := range selectors {
				selector, err := metav1.LabelSelectorAsSelector(s)
				if err != nil {
					t.Fatal(err)
				}
				if selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) {
					t.Errorf("the selector of %s must match the Pods: %s", name, selector)
				}
			}
			ports := map[string]int32{}
			for _, port := range pod.Spec.Containers[0].Ports {
				ports[port.Name] = port.ContainerPort
			}
			if diff := cmp.Diff(map[string]int32{"webhook": 9443, "metrics": 8080, "health": 8081}, ports); diff != "" {
				t.Errorf("container ports (-want +got):\n%s", diff)
			}
			targets := map[int32]int32{}
			for _, port := range service.Spec.Ports {
				targets[port.Port] = ports[port.TargetPort.String()]
			}
			if diff := cmp.Diff(map[int32]int32{443: 9443, 8080: 8080}, targets); diff != "" {
				t.Errorf("Service ports (-want +got):\n%s", diff)
			}
			container := pod.Spec.Containers[0]
			for name, probe := range map[string]*corev1.Probe{
				"/readyz":  container.ReadinessProbe,
				"/healthz": container.LivenessProbe,
			} {
				if probe.HTTPGet.Path != name || ports[probe.HTTPGet.Port.String()] != 8081 {
					t.Errorf("a probe asks for %s on port %s, want %s on health", probe.HTTPGet.Path, &probe.HTTPGet.Port, name)
				}
			}
		})
	}
}

// The names and Secrets of the certificates fit what the API server calls, what is mounted and what is injected.
func TestCertManager(t *testing.T) {
	t.Parallel()
	certificates, issuers := map[string]*certmanager.Certificate{}, map[string]*certmanager.Issuer{}
	all := objects(t, render(t, "cert-manager"))
	for _, object := range all {
		switch o := object.(type) {
		case *certmanager.Certificate:
			certificates[o.Name] = o
		case *certmanager.Issuer:
			issuers[o.Name] = o
		}
	}
	serving := certificates["meshfence"]
	issuer := issuers[serving.Spec.IssuerRef.Name]
	ca := certificates[issuer.Spec.CA.SecretName]
	if !ca.Spec.IsCA || ca.Spec.SecretName != ca.Name || issuers[ca.Spec.IssuerRef.Name].Spec.SelfSigned == nil {
		t.Errorf("the serving certificate must come from a CA that signs itself")
	}
	if !slices.Contains(serving.Spec.DNSNames, "meshfence.meshfence-system.svc") {
		t.Errorf("dnsNames = %v, want the name that the API server calls", serving.Spec.DNSNames)
	}
	if ca.Spec.PrivateKey.RotationPolicy != certmanager.RotationPolicyNever {
		t.Errorf("the CA must keep its key")
	}
	// cert-manager renews with a third of the life left.
	if left := ca.Spec.Duration.Duration / 3; serving.Spec.Duration.Duration > left || left < 24*time.Hour {
		t.Errorf("a serving certificate of %s outlives a CA that is renewed %s before its end", serving.Spec.Duration.Duration, left)
	}
	pod := one[*appsv1.Deployment](t, "cert-manager").Spec.Template.Spec
	volume, mount := pod.Volumes[0], pod.Containers[0].VolumeMounts[0]
	if volume.Secret.SecretName != serving.Spec.SecretName || mount.Name != volume.Name || mount.MountPath != "/etc/meshfence/tls" {
		t.Errorf("Secret %s is mounted on %s, want %s on /etc/meshfence/tls", volume.Secret.SecretName, mount.MountPath, serving.Spec.SecretName)
	}
	for _, annotations := range []map[string]string{
		one[*admissionv1.MutatingWebhookConfiguration](t, "cert-manager").Annotations,
		one[*admissionv1.ValidatingWebhookConfiguration](t, "cert-manager").Annotations,
	} {
		want := map[string]string{certmanager.WantInjectAnnotation: serving.Namespace + "/" + serving.Name}
		if diff := cmp.Diff(want, annotations); diff != "" {
			t.Errorf("annotations of a webhook configuration (-want +got):\n%s", diff)
		}
	}
	// Who is given a certificate needs no right to keep one, and of the webhook configurations to see whose they are.
	for _, right := range granted(all) {
		if strings.Contains(right, "secrets") || strings.Contains(right, "webhookconfigurations") && !strings.HasPrefix(right, "get ") {
			t.Errorf("the rights go further than the overlay needs: %s", right)
		}
	}
}
