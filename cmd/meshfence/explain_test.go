package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// Of a strict host that has no Service here, explain says what becomes of its clients.
func TestExplainAbsent(t *testing.T) {
	t.Parallel()
	config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+
		"controlPlane: {clusters: [m1c1]}\nholds: [subset]\nscope: {default: strict}\n"))
	if err != nil {
		t.Fatal(err)
	}
	auditor := &audit.Auditor{Index: policy.NewIndex(config), Guard: leak.NewGuard(leak.Rules()), Reader: fake.NewClientBuilder().Build(), Now: time.Now}
	var out bytes.Buffer
	far := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "far"}}
	if err := explain(t.Context(), &out, auditor, far, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"far.shop.svc.cluster.local", "is not in this cluster", "nothing", "[companion-missing]"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("must say %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "[service-") {
		t.Errorf("a Service is judged that does not exist:\n%s", out.String())
	}
}
