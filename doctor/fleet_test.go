package doctor_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/meshfence/meshfence/doctor"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
)

// member is one cluster of a fleet, with the Services shop/reviews and shop/ratings.
func member(t *testing.T, name, config string) doctor.Observation {
	t.Helper()
	parsed, err := policy.ParseConfig(policy.Source{}, []byte("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\n"+config))
	if err != nil {
		t.Fatal(err)
	}
	o := doctor.Observation{Cluster: name}
	o.Config.Value.InForce = parsed
	o.Replicas.Value.Deployment = &appsv1.Deployment{}
	o.Replicas.Value.Deployment.Spec.Template.Spec.Containers = []corev1.Container{{Image: "meshfence:1"}}
	o.Fences.Value.Index = policy.NewIndex(parsed)
	o.Fences.Value.Index.SetNamespace("shop", nil)
	for _, service := range []string{"reviews", "ratings"} {
		o.Fences.Value.Index.SetService(hostname.Host{Namespace: "shop", Name: service}, nil)
	}
	return o
}

func TestCompare(t *testing.T) {
	t.Parallel()
	const (
		one  = "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\n"
		two  = "controlPlane: {clusters: [m1c2]}\nholds: [meshConfig]\n"
		same = "ok m1c1, m1c2 own-clusters: no cluster is named by two FenceConfigs"
		set  = "ok m1c1, m1c2 same-settings: holds, enforcement, cluster domain and image are the same"
		free = "ok m1c1, m1c2 same-fences: every Service that is strict in one cluster is strict wherever it exists"
	)
	strict := func(services string) string { return "scope: {services: [" + services + "]}\n" }
	alone := member(t, "m1c1", one+strict("{namespace: bank, name: a, fence: strict}"))
	alone.Fences.Value.Index.SetService(hostname.Host{Namespace: "bank", Name: "a"}, nil)
	reviews := "{namespace: shop, name: reviews, fence: strict}"
	for name, test := range map[string]struct {
		fleet []doctor.Observation
		want  []string
	}{
		"one cluster": {[]doctor.Observation{member(t, "m1c1", one)}, nil},
		"alike":       {[]doctor.Observation{member(t, "m1c1", one+strict(reviews)), member(t, "m1c2", two+strict(reviews))}, []string{same, set, free}},
		"strict in one cluster alone": {[]doctor.Observation{member(t, "m1c1", one+strict(reviews)), member(t, "m1c2", two)}, []string{same, set,
			"warning m1c1, m1c2 same-fences: Service shop/reviews is strict in m1c1 and not in m1c2: the clients there are still sent to m1c1 (A6)"}},
		"strict in the other alone": {[]doctor.Observation{member(t, "m1c1", one), member(t, "m1c2", two+strict(reviews))}, []string{same, set,
			"warning m1c2, m1c1 same-fences: Service shop/reviews is strict in m1c2 and not in m1c1: the clients there are still sent to m1c2 (A6)"}},
		"strict, and not there": {[]doctor.Observation{alone, member(t, "m1c2", two)}, []string{same, set, free}},
		"the same cluster, other settings": {[]doctor.Observation{member(t, "m1c1", one), member(t, "m1c2", one+"enforcement: audit\n")}, []string{
			"failed m1c1, m1c2 own-clusters: the FenceConfigs of m1c1 and m1c2 name the same cluster: m1c1",
			"warning m1c1, m1c2 same-settings: enforcement: audit in m1c2; enforce in m1c1", free}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, r := range doctor.Compare(test.fleet) {
				got = append(got, string(r.Outcome)+" "+r.Cluster+" "+r.Check+": "+r.Seen)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("results (-want +got):\n%s", diff)
			}
		})
	}
}
