package leak_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// TestRegistered leaves a WorkloadEntry that istiod once made to the finding on its WorkloadGroup.
func TestRegistered(t *testing.T) {
	t.Parallel()
	index := newIndex(t, "meshConfig")
	index.SetNamespace("shop", nil)
	host := hostname.Host{Namespace: "shop", Name: "reviews"}
	index.SetService(host, map[string]string{policy.FenceKey: "strict"})
	index.SetServiceSpec(host, object.ServiceSpec{Selector: map[string]string{"app": "reviews"}})
	group := fromYAML(t, object.KindWorkloadGroup, "metadata: {name: vms, namespace: shop}\nspec: {template: {labels: {app: reviews}}}")
	entry := fromYAML(t, object.KindWorkloadEntry, "metadata: {name: it, namespace: shop, annotations: {istio.io/autoRegistrationGroup: vms}}\n"+
		"spec: {address: 192.0.2.7, labels: {app: reviews}}")
	guard := leak.NewGuard(leak.Rules())
	if findings := guard.Check(entry, index.View()); len(findings) != 1 {
		t.Errorf("without the WorkloadGroup: want one finding, found:\n%s", describe(findings))
	}
	index.SetObject(group)
	refuseNone(t, "with the WorkloadGroup", guard.Check(entry, index.View()))
	if findings := guard.Check(group, index.View()); len(findings) != 1 {
		t.Errorf("the WorkloadGroup: want one finding, found:\n%s", describe(findings))
	}
}

// TestKeptOutByNodes: where Nodes say which localities are this cluster's, one in any other is of another cluster.
func TestKeptOutByNodes(t *testing.T) {
	t.Parallel()
	config, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\n"+
		"kind: FenceConfig\ncontrolPlane: {clusters: [m1c1]}\nholds: [locality]\n"))
	if err != nil {
		t.Fatal(err)
	}
	index := policy.NewIndex(config.WithShares(policy.Shares{"r1/*": 100}))
	index.SetNamespace("shop", nil)
	host := hostname.Host{Namespace: "shop", Name: "reviews"}
	index.SetService(host, map[string]string{policy.FenceKey: "strict"})
	index.SetServiceSpec(host, object.ServiceSpec{Selector: map[string]string{"app": "reviews"}})
	for locality, found := range map[string]bool{"": false, "r1/z1": true, "r2/z1": true} {
		entry := fromYAML(t, object.KindWorkloadEntry, "metadata: {name: it, namespace: shop}\nspec: {address: 192.0.2.7, labels: {app: reviews}, locality: '"+locality+"'}")
		if findings := leak.NewGuard(leak.Rules()).Check(entry, index.View()); (len(findings) > 0) != found {
			t.Errorf("locality %q: found %t, want %t:\n%s", locality, len(findings) > 0, found, describe(findings))
		}
	}
}
