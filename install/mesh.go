package install

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// The names by which Istio's charts and istioctl mark what is theirs.
const (
	remoteSecretLabel = "istio/multiCluster"
	remoteSecretName  = "istio-remote-secret-"
	clusterAnnotation = "networking.istio.io/cluster"
)

// UnseenZtunnel is in Unseen where it is not known whether ztunnel runs.
const UnseenZtunnel = "whether ztunnel runs"

// Istiod is a Deployment of istiod.
type Istiod struct {
	Namespace, Name string
	// Revision is that of its environment, and default where that names none.
	Revision string
	// Version is the tag of its image.
	Version string
	// ClusterID is the one by which it knows this cluster.
	ClusterID string
	// Domain is the DNS domain of Services.
	Domain string
	// Env is its environment, as far as that is written out in the Deployment.
	Env map[string]string
}

// MeshConfigMap returns the name of the ConfigMap with its mesh config (getMeshConfigMapName in Istio's
// pilot/pkg/bootstrap/mesh.go).
func (i Istiod) MeshConfigMap() string {
	if i.Revision == "default" {
		return "istio"
	}
	return "istio-" + i.Revision
}

// Mesh is what can be seen of a mesh in one of its clusters.
type Mesh struct {
	// Istiods are by namespace and name.
	Istiods []Istiod
	// Networks are the Istio networks by namespace: that of istiod names the network of the cluster.
	Networks map[string]string
	// Remotes are the clusters that istiod has a remote secret of.
	Remotes []string
	// Ambient reports whether ztunnel runs.
	Ambient bool
	// Unseen says what could not be read.
	Unseen []string
}

// Survey looks at the Istio of a cluster. Of remote secrets it reads the metadata alone. What the user may not read is
// told in Unseen.
func Survey(ctx context.Context, reader client.Reader) (Mesh, error) {
	mesh := Mesh{Networks: map[string]string{}}
	var istiods appsv1.DeploymentList
	if err := reader.List(ctx, &istiods, client.MatchingLabels{"app": "istiod"}); err != nil {
		return Mesh{}, fmt.Errorf("list the Deployments of istiod: %w", err)
	}
	for _, d := range istiods.Items {
		mesh.Istiods = append(mesh.Istiods, istiodOf(d))
	}
	if err := mesh.readNetworks(ctx, reader); err != nil {
		return Mesh{}, err
	}
	if err := mesh.readRemotes(ctx, reader); err != nil {
		return Mesh{}, err
	}
	return mesh, mesh.readZtunnel(ctx, reader)
}

func (m *Mesh) readNetworks(ctx context.Context, reader client.Reader) error {
	for _, i := range m.Istiods {
		var namespace corev1.Namespace
		err := reader.Get(ctx, client.ObjectKey{Name: i.Namespace}, &namespace)
		if err := m.unseen(err, "the network of Namespace "+i.Namespace); err != nil {
			return err
		}
		m.Networks[i.Namespace] = namespace.Labels[leak.NetworkLabel]
	}
	return nil
}

func (m *Mesh) readRemotes(ctx context.Context, reader client.Reader) error {
	secrets := &metav1.PartialObjectMetadataList{}
	secrets.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("SecretList"))
	err := reader.List(ctx, secrets, client.MatchingLabels{remoteSecretLabel: "true"})
	if err := m.unseen(err, "the remote secrets, which name the other clusters"); err != nil {
		return err
	}
	for _, s := range secrets.Items {
		m.Remotes = append(m.Remotes, cmp.Or(s.Annotations[clusterAnnotation], strings.TrimPrefix(s.Name, remoteSecretName)))
	}
	slices.Sort(m.Remotes)
	m.Remotes = slices.Compact(m.Remotes)
	return nil
}

func (m *Mesh) readZtunnel(ctx context.Context, reader client.Reader) error {
	var ztunnels appsv1.DaemonSetList
	err := reader.List(ctx, &ztunnels, client.MatchingLabels{"app": "ztunnel"})
	m.Ambient = len(ztunnels.Items) > 0
	return m.unseen(err, UnseenZtunnel)
}

// unseen notes what the user may not read; any other error is returned.
func (m *Mesh) unseen(err error, what string) error {
	if apierrors.IsForbidden(err) {
		m.Unseen = append(m.Unseen, what)
		return nil
	}
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("look for %s: %w", what, err)
	}
	return nil
}

// In returns the mesh with the istiods of one namespace alone.
func (m Mesh) In(namespace string) Mesh {
	m.Istiods = slices.DeleteFunc(slices.Clone(m.Istiods), func(i Istiod) bool { return i.Namespace != namespace })
	return m
}

// istiodOf reads a Deployment as Istio's chart writes it.
func istiodOf(d appsv1.Deployment) Istiod {
	istiod := Istiod{Namespace: d.Namespace, Name: d.Name, Env: map[string]string{}, Domain: "cluster.local"}
	for _, c := range d.Spec.Template.Spec.Containers {
		if c.Name != "discovery" {
			continue
		}
		for _, e := range c.Env {
			if e.ValueFrom == nil {
				istiod.Env[e.Name] = e.Value
			}
		}
		istiod.Version = tag(c.Image)
		istiod.Domain = cmp.Or(argument(c.Args, "--domain"), istiod.Domain)
	}
	istiod.ClusterID = cmp.Or(istiod.Env[policy.IstiodClusterVariable], policy.DefaultClusterID)
	istiod.Revision = cmp.Or(istiod.Env["REVISION"], d.Labels[policy.RevisionLabel], "default")
	return istiod
}

// tag returns the tag of an image, without its digest; empty where there is none.
func tag(image string) string {
	name, _, _ := strings.Cut(image, "@")
	at := strings.LastIndex(name, ":")
	if at < strings.LastIndex(name, "/") {
		return ""
	}
	return name[at+1:]
}

// argument returns the value of a flag, written as one argument or as two.
func argument(args []string, flag string) string {
	for i, a := range args {
		if value, ok := strings.CutPrefix(a, flag+"="); ok {
			return value
		}
		if a == flag && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}
