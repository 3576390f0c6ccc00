package install_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/install"
)

// meshScene is what Istio's charts and istioctl create-remote-secret make.
const meshScene = `
kind: Namespace
metadata: {name: istio-system, labels: {topology.istio.io/network: net1}}
---
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod, istio.io/rev: default}}
spec:
  template:
    spec:
      containers:
        - name: discovery
          image: registry:5000/istio/pilot:1.31.1@sha256:0
          args: [discovery, --domain, example.org]
          env: [{name: CLUSTER_ID, value: m1c1}, {name: REVISION, value: default}]
---
kind: Deployment
metadata: {name: istiod-next, namespace: istio-system, labels: {app: istiod, istio.io/rev: next}}
spec:
  template:
    spec:
      containers:
        - {name: proxy, image: other:1}
        - {name: discovery, image: "registry:5000/istio/pilot", args: [discovery, --domain=example.org]}
---
kind: Deployment
metadata: {name: shop, namespace: shop, labels: {app: shop}}
---
kind: Secret
metadata: {name: istio-remote-secret-m1c2, namespace: istio-system, labels: {istio/multiCluster: "true"}, annotations: {networking.istio.io/cluster: m1c2}}
---
kind: Secret
metadata: {name: istio-remote-secret-m1c3, namespace: istio-system, labels: {istio/multiCluster: "true"}}
---
kind: Secret
metadata: {name: other, namespace: istio-system}
---
kind: DaemonSet
metadata: {name: ztunnel, namespace: istio-system, labels: {app: ztunnel}}
`

func TestSurvey(t *testing.T) {
	t.Parallel()
	reader := fake.NewClientBuilder().WithObjects(decode(t, meshScene)...).Build()
	got, err := install.Survey(t.Context(), reader)
	if err != nil {
		t.Fatal(err)
	}
	want := install.Mesh{
		Istiods: []install.Istiod{
			{Namespace: "istio-system", Name: "istiod", Revision: "default", Version: "1.31.1", ClusterID: "m1c1", Domain: "example.org",
				Env: map[string]string{"CLUSTER_ID": "m1c1", "REVISION": "default"}},
			{Namespace: "istio-system", Name: "istiod-next", Revision: "next", ClusterID: "Kubernetes", Domain: "example.org", Env: map[string]string{}},
		},
		Networks: map[string]string{"istio-system": "net1"},
		Remotes:  []string{"m1c2", "m1c3"},
		Ambient:  true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mesh (-want +got):\n%s", diff)
	}
	if names := []string{got.Istiods[0].MeshConfigMap(), got.Istiods[1].MeshConfigMap()}; !cmp.Equal(names, []string{"istio", "istio-next"}) {
		t.Errorf("mesh ConfigMaps %v", names)
	}
}

// decode reads objects of the kinds that are looked at.
func decode(t *testing.T, text string) []client.Object {
	t.Helper()
	kinds := map[string]func() client.Object{
		"Namespace":  func() client.Object { return &corev1.Namespace{} },
		"Deployment": func() client.Object { return &appsv1.Deployment{} },
		"DaemonSet":  func() client.Object { return &appsv1.DaemonSet{} },
		"Secret":     func() client.Object { return &corev1.Secret{} },

		"ValidatingWebhookConfiguration": func() client.Object { return &admissionv1.ValidatingWebhookConfiguration{} },
	}
	var objects []client.Object
	for document := range strings.SplitSeq(text, "\n---\n") {
		var head struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(document), &head); err != nil {
			t.Fatal(err)
		}
		object := kinds[head.Kind]()
		if err := yaml.Unmarshal([]byte(document), object); err != nil {
			t.Fatal(err)
		}
		objects = append(objects, object)
	}
	return objects
}

func TestFind(t *testing.T) {
	t.Parallel()
	const deployment = "kind: Deployment\nmetadata: {name: meshfence, namespace: fences}\n" +
		"spec: {template: {spec: {containers: [{name: meshfence, image: \"mine:1\", args: [serve, --certificates=mounted]}]}}}"
	for name, test := range map[string]struct {
		objects   string
		namespace string
		want      install.Installed
	}{
		"nothing":           {"kind: Namespace\nmetadata: {name: fences}", "fences", install.Installed{}},
		"with cert-manager": {deployment, "fences", install.Installed{Image: "mine:1", Certificates: install.CertManager}},
		"self-signed":       {strings.Replace(deployment, "mounted", "self-signed", 1), "fences", install.Installed{Image: "mine:1", Certificates: install.SelfSigned}},
		"with metrics for readers": {strings.Replace(deployment, "serve, ", "serve, --metrics-auth, ", 1), "fences",
			install.Installed{Image: "mine:1", Certificates: install.CertManager, MetricsAuth: true}},
		"with metrics for all": {strings.Replace(deployment, "serve, ", "serve, --metrics-auth=false, ", 1), "fences", install.Installed{Image: "mine:1", Certificates: install.CertManager}},
		"in another namespace": {deployment, "other", install.Installed{}},
		"called": {deployment + "\n---\nkind: ValidatingWebhookConfiguration\nmetadata: {name: meshfence}\n" +
			"webhooks: [{name: a, clientConfig: {service: {namespace: fences, name: meshfence}}}]", "other", install.Installed{Tenant: "fences"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := install.Find(t.Context(), fake.NewClientBuilder().WithObjects(decode(t, test.objects)...).Build(), test.namespace)
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%v, found (-want +got):\n%s", err, diff)
			}
		})
	}
}
