package install_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy"
)

func TestControlPlaneOf(t *testing.T) {
	t.Parallel()
	istiod := func(name, revision, id string) install.Istiod {
		return install.Istiod{Namespace: "istio-system", Name: name, Revision: revision, ClusterID: id, Domain: "cluster.local"}
	}
	for name, test := range map[string]struct {
		mesh     install.Mesh
		clusters []string
		want     install.ControlPlane
		wrong    string
	}{
		"one istiod": {
			mesh: install.Mesh{Istiods: []install.Istiod{istiod("istiod", "default", "m1c1")}, Networks: map[string]string{"istio-system": "net1"}},
			want: install.ControlPlane{Clusters: []string{"m1c1"}, IstioNamespace: "istio-system", MeshConfigMaps: []string{"istio"}, ClusterDomain: "cluster.local", Network: "net1"},
		},
		"revisions": {
			mesh: install.Mesh{Istiods: []install.Istiod{istiod("istiod-1-32", "1-32", "m1c1"), istiod("istiod", "default", "m1c1")}},
			want: install.ControlPlane{Clusters: []string{"m1c1"}, IstioNamespace: "istio-system", MeshConfigMaps: []string{"istio", "istio-1-32"}, ClusterDomain: "cluster.local"},
		},
		"istiods of several clusters": {
			mesh:  install.Mesh{Istiods: []install.Istiod{istiod("a", "a", "m1c1"), istiod("b", "b", "m1c2")}},
			wrong: "istiods have several values of CLUSTER_ID: m1c1, m1c2",
		},
		"one istiod for two clusters, named": {
			mesh: install.Mesh{Istiods: []install.Istiod{istiod("istiod", "default", "m1c1")}}, clusters: []string{"m1c1", "m1c2"},
			want: install.ControlPlane{Clusters: []string{"m1c1", "m1c2"}, IstioNamespace: "istio-system", MeshConfigMaps: []string{"istio"}, ClusterDomain: "cluster.local"},
		},
		"no istiod": {wrong: "no Deployment has the label app=istiod"},
		"istiod elsewhere, named": {
			clusters: []string{"m1c1"},
			want:     install.ControlPlane{Clusters: []string{"m1c1"}, IstioNamespace: "istio-system", MeshConfigMaps: []string{"istio"}, ClusterDomain: "cluster.local"},
		},
		"two meshes": {
			mesh:  install.Mesh{Istiods: []install.Istiod{{Namespace: "a", ClusterID: "x"}, {Namespace: "b", ClusterID: "x"}}},
			wrong: "istiods have several namespaces: a, b",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := install.ControlPlaneOf(test.mesh, test.clusters)
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("error %v, want %s", err, test.wrong)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%v, control plane (-want +got):\n%s", err, diff)
			}
		})
	}
}

// The FenceConfig says what the control plane does, in the words of the example and with its comments.
func TestFenceConfig(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		plane install.ControlPlane
		holds string
	}{
		"one cluster":      {install.ControlPlane{Clusters: []string{"1e5"}, IstioNamespace: "istio", MeshConfigMaps: []string{"a", "b"}, ClusterDomain: "example.org", Network: "no"}, "meshConfig, subset"},
		"several clusters": {install.ControlPlane{Clusters: []string{"m1c1", "m1c2"}, IstioNamespace: "istio-system", MeshConfigMaps: []string{"istio"}, ClusterDomain: "cluster.local"}, "meshConfig"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			object, err := install.FenceConfig(test.plane, policy.Warn, "fences")
			if err != nil {
				t.Fatal(err)
			}
			config, err := policy.ParseConfigMap(policy.ConfigMapSource("fences", nil), object.Data)
			if err != nil {
				t.Fatal(err)
			}
			got := install.ControlPlane{Clusters: config.Clusters, IstioNamespace: config.IstioNamespace, MeshConfigMaps: config.MeshConfigMaps,
				ClusterDomain: config.ClusterDomain, Network: config.Network}
			if diff := cmp.Diff(test.plane, got); diff != "" {
				t.Errorf("control plane (-want +got):\n%s", diff)
			}
			if object.Namespace != "fences" || config.Enforcement != policy.Warn || config.Holds.String() != test.holds {
				t.Errorf("namespace %s, enforcement %s, holds %s", object.Namespace, config.Enforcement, config.Holds)
			}
		})
	}
}

func TestWithEnforcement(t *testing.T) {
	t.Parallel()
	const start = "apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\ncontrolPlane: {clusters: [a]} # mine\nholds: [subset]\n"
	for name, test := range map[string]struct{ text, want, wrong string }{
		"written, with a comment": {text: start + "enforcement: audit # for now\nscope: {}\n", want: start + "enforcement: warn # for now\nscope: {}\n"},
		"written in quotes":       {text: start + "enforcement: \"audit\"", want: start + "enforcement: warn"},
		"left out":                {text: start, want: start + "enforcement: warn\n"},
		"the same":                {text: start + "enforcement:   warn\n", want: start + "enforcement:   warn\n"},
		"on one line": {
			text:  "{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [a]}, holds: [subset]}",
			wrong: "put in enforcement: warn by hand",
		},
		"not valid": {text: "kind: Nothing", wrong: "must be"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := install.WithEnforcement(test.text, policy.Warn, policy.ConfigMapSource("a", nil))
			if test.wrong != "" {
				if err == nil || !strings.Contains(err.Error(), test.wrong) {
					t.Errorf("error %v, want %s", err, test.wrong)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); err != nil || diff != "" {
				t.Errorf("%v, text (-want +got):\n%s", err, diff)
			}
		})
	}
}
