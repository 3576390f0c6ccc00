package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

type installFlags struct {
	kubeconfig
	install.Options

	enforcement string
	clusters    []string
	apply       bool
	force       bool
	patience    time.Duration
}

func newInstall() *cobra.Command {
	var f installFlags
	command := &cobra.Command{
		Use:   "install",
		Short: "Print or apply the manifests of this version, filled in with what the cluster says of its mesh",
		Long: `Print the manifests of this version, or apply them with --apply: the CLUSTER_ID of istiod, the mesh ConfigMaps of its
revisions, the network and the cluster domain come from the cluster. What was found is told on standard error.

A FenceConfig is among them only where the cluster has none: installing again changes nothing in the one that is in
force, unless --enforcement asks for another one. While it is audit or warn nothing is refused, and the webhooks fail
open. With --apply the API server is told to call the webhooks once every replica is available.

Exit code 0: printed or applied; 2: an error.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return f.run(command.Context(), command.OutOrStdout(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	f.kubeconfig.addFlags(flags)
	flags.StringVar(&f.Namespace, "install-namespace", policy.InstallNamespace, "namespace to install in")
	flags.StringVar(&f.Image, "image", "", "image of the replicas (default: that of the Deployment in the cluster, or else of the manifests)")
	flags.StringVar(&f.Certificates, "certificates", "", "where the serving certificate comes from: self-signed or cert-manager (default: as in the cluster, or else self-signed)")
	flags.StringVar(&f.enforcement, "enforcement", "", "audit, warn or enforce (default: that of the FenceConfig in the cluster, or else enforce)")
	flags.StringVar(&f.IstioNamespace, "istio-namespace", "", "namespace of istiod (default: the one that has one)")
	flags.StringSliceVar(&f.clusters, "cluster", nil, "CLUSTER_ID of every cluster whose workloads read the Istio config of this one (default: that of istiod)")
	flags.BoolVar(&f.apply, "apply", false, "apply the manifests (server-side apply) instead of printing them")
	flags.BoolVar(&f.force, "force-conflicts", false, "take fields from other managers, such as kubectl")
	flags.DurationVar(&f.patience, "timeout", 3*time.Minute, "how long the replicas may take with --apply; 0 does not wait for them")
	return command
}

func (f *installFlags) run(ctx context.Context, out, progress io.Writer) error {
	if f.enforcement != "" {
		if _, ok := policy.ParseEnforcement(f.enforcement); !ok {
			return fmt.Errorf("--enforcement %q must be one of %s", f.enforcement, strings.Join(policy.Enforcements(), ", "))
		}
	}
	restConfig, err := f.kubeconfig.load()
	if err != nil {
		return err
	}
	api, err := client.New(restConfig, client.Options{})
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	if err := f.goOn(ctx, api); err != nil {
		return err
	}
	mesh, err := install.Survey(ctx, api)
	if err != nil {
		return err
	}
	if f.IstioNamespace != "" {
		mesh = mesh.In(f.IstioNamespace)
	}
	config, err := f.fenceConfig(ctx, api, mesh)
	if err != nil {
		return err
	}
	if err := writeMesh(progress, mesh, config); err != nil {
		return err
	}
	f.HasIstio = slices.ContainsFunc(mesh.Istiods, func(i install.Istiod) bool { return i.Namespace == f.IstioNamespace })
	objects, err := install.Render(f.Options)
	if err != nil {
		return err
	}
	if f.apply {
		return f.applyAll(ctx, api, objects, config, progress)
	}
	return printAll(out, objects, config)
}

// goOn takes what no flag says from the installation that is there. There may be one in another namespace, which must not
// lose the cluster to this one.
func (f *installFlags) goOn(ctx context.Context, api client.Client) error {
	found, err := install.Find(ctx, api, f.Namespace)
	if err != nil {
		return err
	}
	if found.Tenant != "" && found.Tenant != f.Namespace {
		return fmt.Errorf("meshfence is installed in namespace %s, and only once in a cluster: name that with --install-namespace, or remove it first", found.Tenant)
	}
	f.Image = cmp.Or(f.Image, found.Image)
	f.Certificates = cmp.Or(f.Certificates, found.Certificates, install.SelfSigned)
	f.MetricsAuth = found.MetricsAuth
	return nil
}

// installedConfig is the FenceConfig of an installation.
type installedConfig struct {
	*corev1.ConfigMap
	*policy.Config

	// written reports whether it is new or changed, and note says why.
	written bool
	note    string
}

// fenceConfig returns the FenceConfig in force, with the enforcement that is asked for, or else a new one, and fills the
// options of the manifests from it.
func (f *installFlags) fenceConfig(ctx context.Context, api client.Client, mesh install.Mesh) (installedConfig, error) {
	config := installedConfig{ConfigMap: &corev1.ConfigMap{}, note: "there is one, which stays as it is"}
	err := api.Get(ctx, client.ObjectKey{Namespace: f.Namespace, Name: policy.ConfigMapName}, config.ConfigMap)
	if apierrors.IsNotFound(err) {
		config, err = f.missingConfig(ctx, api, mesh)
	}
	if err != nil {
		return config, err
	}
	source := policy.ConfigMapSource(f.Namespace, leak.IDs(leak.Rules()))
	if f.enforcement != "" {
		text, err := install.WithEnforcement(config.Data[policy.ConfigMapKey], policy.Enforcement(f.enforcement), source)
		if err != nil {
			return config, err
		}
		if text != config.Data[policy.ConfigMapKey] {
			config.Data[policy.ConfigMapKey] = text
			config.written, config.note = true, "there is one, of which the enforcement changes"
		}
	}
	if config.Config, err = policy.ParseConfigMap(source, config.Data); err != nil {
		return config, err
	}
	f.Enforcement, f.MeshConfigMaps, f.IstioNamespace = config.Enforcement, config.MeshConfigMaps, config.IstioNamespace
	return config, nil
}

// missingConfig returns the last good FenceConfig where one was deleted, which is in force all the same, or else a new one.
func (f *installFlags) missingConfig(ctx context.Context, api client.Client, mesh install.Mesh) (installedConfig, error) {
	var kept corev1.ConfigMap
	err := api.Get(ctx, client.ObjectKey{Namespace: f.Namespace, Name: cluster.LastGoodName}, &kept)
	if client.IgnoreNotFound(err) != nil {
		return installedConfig{}, err
	}
	if text := kept.Data[policy.ConfigMapKey]; text != "" {
		config := &corev1.ConfigMap{Data: map[string]string{policy.ConfigMapKey: text}}
		config.Namespace, config.Name = f.Namespace, policy.ConfigMapName
		return installedConfig{ConfigMap: config, written: true, note: "it was deleted: the last good one is put back"}, nil
	}
	config, err := f.newFenceConfig(mesh)
	return installedConfig{ConfigMap: config, written: true, note: "none yet: a new one is made"}, err
}

func (f *installFlags) newFenceConfig(mesh install.Mesh) (*corev1.ConfigMap, error) {
	plane, err := install.ControlPlaneOf(mesh, f.clusters)
	if err != nil {
		return nil, fmt.Errorf("%w (--cluster, --istio-namespace)", err)
	}
	if f.IstioNamespace != "" {
		plane.IstioNamespace = f.IstioNamespace
	}
	return install.FenceConfig(plane, cmp.Or(policy.Enforcement(f.enforcement), policy.Enforce), f.Namespace)
}

// writeMesh tells what was found, and what becomes of it.
func writeMesh(out io.Writer, mesh install.Mesh, config installedConfig) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(name, value string) { fmt.Fprintf(table, "%s\t%s\n", name, value) }
	for _, i := range mesh.Istiods {
		row("istiod", fmt.Sprintf("%s/%s, version %s, revision %s, CLUSTER_ID %s", i.Namespace, i.Name, cmp.Or(i.Version, "unknown"), i.Revision, i.ClusterID))
		if !slices.Contains(config.Clusters, i.ClusterID) {
			row("", fmt.Sprintf("its CLUSTER_ID is not among controlPlane.clusters of the FenceConfig: %s", strings.Join(config.Clusters, ", ")))
		}
	}
	if len(mesh.Istiods) == 0 {
		row("istiod", "none in this cluster")
	}
	row("clusters", strings.Join(config.Clusters, ", "))
	row("mesh ConfigMaps", config.IstioNamespace+"/"+strings.Join(config.MeshConfigMaps, ", "))
	row("cluster domain", config.ClusterDomain)
	row("network", cmp.Or(config.Network, "one for the whole mesh"))
	if len(mesh.Remotes) > 0 {
		row("other clusters", strings.Join(mesh.Remotes, ", ")+": install meshfence in each that has an istiod of its own; name those that have none with --cluster")
	}
	if mesh.Ambient {
		row("ztunnel", "runs here, and no hold holds what it sends (docs/catalogue.md)")
	}
	row("FenceConfig", config.note)
	row("enforcement", string(config.Enforcement))
	for _, u := range mesh.Unseen {
		row("not seen", u)
	}
	return table.Flush()
}

// printAll prints YAML documents: the FenceConfig where it is new or changed, after the Namespace that it is in.
func printAll(out io.Writer, objects []*unstructured.Unstructured, config installedConfig) error {
	var documents []any
	for i, o := range objects {
		documents = append(documents, o.Object)
		if i == 0 && config.written {
			documents = append(documents, fresh(config.ConfigMap))
		}
	}
	for _, d := range documents {
		text, err := yaml.Marshal(d)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(out, "---\n%s", text); err != nil {
			return err
		}
	}
	return nil
}

// fresh leaves out what the API server has put into an object.
func fresh(config *corev1.ConfigMap) map[string]any {
	return map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "data": config.Data,
		"metadata": map[string]any{"namespace": config.Namespace, "name": config.Name},
	}
}

func (f *installFlags) applyAll(ctx context.Context, api client.Client, objects []*unstructured.Unstructured, config installedConfig, progress io.Writer) error {
	applier := &install.Applier{Client: api, Force: f.force, Patience: f.patience, Progress: progress}
	if err := applier.Apply(ctx, objects[:1]); err != nil {
		return err
	}
	if config.written {
		if err := writeFenceConfig(ctx, api, config.ConfigMap); err != nil {
			return err
		}
		fmt.Fprintf(progress, "wrote the FenceConfig\n")
	}
	return applier.Apply(ctx, objects[1:])
}

// writeFenceConfig creates a FenceConfig, or updates the very one that was read.
func writeFenceConfig(ctx context.Context, api client.Client, config *corev1.ConfigMap) error {
	if config.ResourceVersion == "" {
		return api.Create(ctx, config)
	}
	return api.Update(ctx, config)
}
