package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// TestAuditAsksForPods: an audit finds a Gateway that chooses Pods by a label which their Service does not select by.
func TestAuditAsksForPods(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		pod  map[string]string
		want []string
	}{
		"a Pod has both":  {map[string]string{"app": "hop", "istio": "it"}, []string{"gateway-on-strict-destination Gateway app/it", "virtualservice-foreign-host VirtualService app/it"}},
		"no Pod has both": {map[string]string{"app": "hop"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+
				"controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\nscope: {default: strict}\n"))
			if err != nil {
				t.Fatal(err)
			}
			index := policy.NewIndex(config)
			for host, labels := range map[hostname.Host]map[string]string{
				{Namespace: "app", Name: "hop"}: {"app": "hop"}, {Namespace: "shop", Name: "reviews"}: {"app": "reviews"},
			} {
				index.SetNamespace(host.Namespace, nil)
				index.SetService(host, nil)
				index.SetServiceSpec(host, object.ServiceSpec{Selector: labels})
			}
			for kind, spec := range map[string]string{
				object.KindGateway:        `{"selector": {"istio": "it"}}`,
				object.KindVirtualService: `{"hosts": ["reviews.shop.svc.cluster.local"], "http": [{"route": [{"destination": {"host": "hop"}}, {"destination": {"host": "hop.app.svc.cluster.local"}}]}]}`,
			} {
				o, err := object.Decode(kind, []byte(`{"metadata": {"namespace": "app", "name": "it"}, "spec": `+spec+`}`))
				if err != nil {
					t.Fatal(err)
				}
				index.SetObject(o)
			}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "app", Name: "hop-1", Labels: test.pod}}
			auditor := audit.Auditor{
				Index: index, Guard: leak.NewGuard(leak.Rules()), Reader: fake.NewClientBuilder().WithObjects(pod).Build(), Now: time.Now,
			}
			report, err := auditor.Audit(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, s := range report.Results {
				got = append(got, s.Denied[0].Rule+" "+s.Key.Kind+" "+s.Key.Namespace+"/"+s.Key.Name)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestAuditOfAbsentServices: a host that the config names as strict is a row although it has no Service, with what lacks
// for it.
func TestAuditOfAbsentServices(t *testing.T) {
	t.Parallel()
	for hold, lack := range map[string]string{"meshConfig": "", "subset": "companion-missing route-missing"} {
		config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+
			"controlPlane: {clusters: [m1c1]}\nholds: ["+hold+"]\nscope: {services: [{namespace: shop, name: far, fence: strict}, "+
			"{namespace: shop, name: loose, fence: none}, {namespace: shop, name: here, fence: strict}]}\n"))
		if err != nil {
			t.Fatal(err)
		}
		here := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "here"}}
		auditor := audit.Auditor{
			Index: policy.NewIndex(config), Guard: leak.NewGuard(leak.Rules()), Reader: fake.NewClientBuilder().WithObjects(here).Build(), Now: time.Now,
		}
		report, err := auditor.Audit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range report.Services {
			var lacks []string
			for _, l := range s.Lacks {
				lacks = append(lacks, l.Reason)
			}
			got = append(got, s.Name+" "+strings.Join(lacks, " "))
		}
		if diff := cmp.Diff([]string{"far " + lack, "here " + lack}, got); diff != "" {
			t.Errorf("%s: rows (-want +got):\n%s", hold, diff)
		}
	}
}
