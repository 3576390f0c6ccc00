package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/uninstall"
)

// TestWriteUninstallJSON: the JSON says what the text says, and has the same exit code.
func TestWriteUninstallJSON(t *testing.T) {
	t.Parallel()
	install := uninstall.Install{Deployment: &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "platform", Name: "meshfence", Annotations: map[string]string{"meta.helm.sh/release-name": "fence"}},
		Spec:       appsv1.DeploymentSpec{Replicas: new(int32(0))},
	}}
	for name, test := range map[string]struct {
		plan   uninstall.Plan
		denied bool
		want   uninstallJSON
	}{
		"something is left": {uninstall.Plan{Left: []string{"change it"}, Asking: 2, Changes: []uninstall.Change{
			{Key: object.Key{Kind: "DestinationRule", Namespace: "shop", Name: "reviews"}, Details: []string{"remove spec.subsets[0]"}},
			{Key: object.Key{Kind: "DestinationRule", Namespace: "shop", Name: "ratings-meshfence"}},
		}}, true, uninstallJSON{Stop: []string{}, Left: []string{"change it"}, Asking: 2, Remove: []string{}, TakeBack: []uninstallTakeBack{
			{Kind: "DestinationRule", Namespace: "shop", Name: "reviews", Changes: []string{"remove spec.subsets[0]"}},
			{Kind: "DestinationRule", Namespace: "shop", Name: "ratings-meshfence", Delete: true, Changes: []string{}},
		}}},
		"nothing is left": {uninstall.Plan{Install: install}, false, uninstallJSON{
			Stop: []string{}, TakeBack: []uninstallTakeBack{}, Left: []string{}, Remove: []string{
				"helm uninstall fence -n platform",
				"kubectl delete --ignore-not-found -n platform secret/meshfence-ca lease/meshfence configmap/meshfence",
			}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := writeUninstallJSON(&out, test.plan); errors.Is(err, errDenied) != test.denied {
				t.Errorf("error %v", err)
			}
			var got uninstallJSON
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What is left decides the exit code, and how the installation was made the command that removes the rest of it.
func TestWriteUninstall(t *testing.T) {
	t.Parallel()
	deployment := func(replicas int32, annotations map[string]string) *appsv1.Deployment {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "platform", Name: "meshfence", Annotations: annotations},
			Spec:       appsv1.DeploymentSpec{Replicas: &replicas},
		}
	}
	applied := deployment(0, nil)
	applied.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "kube-controller-manager"}, {Manager: install.FieldManager}}
	for name, test := range map[string]struct {
		plan   uninstall.Plan
		denied bool
		want   string
	}{
		"nothing is left": {want: "\n    kubectl delete -k "},
		"of Helm": {uninstall.Plan{Install: uninstall.Install{Deployment: deployment(0, map[string]string{"meta.helm.sh/release-name": "fence"})}},
			false, "\n    helm uninstall fence -n platform\n"},
		"of meshfence install": {uninstall.Plan{Install: uninstall.Install{Deployment: applied}}, false,
			"\n    meshfence install --install-namespace platform | kubectl delete --ignore-not-found -f -\n"},
		"replicas run": {uninstall.Plan{Install: uninstall.Install{Deployment: deployment(2, nil)}},
			true, "  Deployment platform/meshfence: scale it to 0, and wait until its Pods are gone\n"},
		"Pods are left": {uninstall.Plan{Install: uninstall.Install{Deployment: deployment(0, nil), Pods: 1}},
			true, "  Deployment platform/meshfence: scale it to 0, and wait until its Pods are gone\n"},
		"something for the user": {uninstall.Plan{Left: []string{"change it"}}, true, "only you can do this:\n  change it\n"},
		"users ask":              {uninstall.Plan{Asking: 3}, false, "3 labels of Namespaces and annotations of Services meshfence.io/fence ask for fences"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := writeUninstall(&out, test.plan); errors.Is(err, errDenied) != test.denied {
				t.Errorf("error %v", err)
			}
			if !strings.Contains(out.String(), test.want) || test.denied == strings.Contains(out.String(), "nothing of meshfence is left") {
				t.Errorf("without %q:\n%s", test.want, &out)
			}
		})
	}
}
