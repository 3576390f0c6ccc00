package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/meshconfig"
	"github.com/meshfence/meshfence/policy/object"
)

// Observer looks at a cluster. It needs the rights to read and, for the probes, to create Services and ServiceEntries, which
// it does in dry runs alone.
type Observer struct {
	// Cluster is what results call the cluster, and Namespace that of the installation.
	Cluster, Namespace string
	// ProbeNamespace is where dry runs would create something; chosen unless set.
	ProbeNamespace string
	Client         client.Client
	Rest           *rest.Config
	// Source says how a FenceConfig is read.
	Source policy.Source
	// Fences reads the Services and what holds them under a FenceConfig.
	Fences func(context.Context, *policy.Config) (Fences, error)
}

// Observe looks at everything. What it cannot see has its reason beside it.
func (o *Observer) Observe(ctx context.Context) Observation {
	seen := Observation{Cluster: o.Cluster, Namespace: o.Namespace, Now: time.Now()}
	seen.Config = see(o.config(ctx))
	seen.Replicas = see(o.replicas(ctx))
	for _, p := range seen.Replicas.Value.Pods {
		if isReady(p) {
			seen.Metrics = append(seen.Metrics, o.metrics(ctx, p))
		}
	}
	seen.Webhooks = see(o.webhooks(ctx))
	seen.Mesh = see(install.Survey(ctx, o.Client))
	config := seen.Config.Value.InForce
	var err error
	if seen.Wanted, err = o.wanted(config, seen.Replicas.Value.Deployment); err != nil {
		seen.Webhooks.Err, seen.Rights.Err = err, err
	} else {
		seen.Rights = see(o.rights(ctx, seen.Wanted.Rights, seen.Replicas.Value.Deployment))
	}
	seen.CA = see(o.ca(ctx))
	seen.Others = see(o.others(ctx))
	if config == nil {
		seen.Fences.Err = errors.New("no FenceConfig is in force")
	} else {
		seen.Fences = see(o.Fences(ctx, config))
	}
	if seen.Fences.Err != nil {
		seen.MeshConfigs.Err = seen.Fences.Err
	} else {
		seen.MeshConfigs = see(o.meshConfigs(ctx, config, seen.Fences.Value.Index))
	}
	seen.GitOps = see(o.gitOps(ctx))
	seen.Probes = o.probes(ctx, config, seen.Fences.Value.Index)
	return seen
}

func see[T any](value T, err error) Seen[T] { return Seen[T]{value, err} }

func (o *Observer) config(ctx context.Context) (Config, error) {
	var config Config
	current, err := cluster.LoadConfig(ctx, o.Client, o.Source)
	if err != nil && !apierrors.IsNotFound(err) && !invalid(err) {
		return config, err
	}
	config.Current, config.Problem = current, err
	config.InForce, _, err = cluster.StartConfig(ctx, o.Client, o.Source)
	if err != nil && !apierrors.IsNotFound(err) && !invalid(err) {
		return config, err
	}
	var written, kept corev1.ConfigMap
	for name, to := range map[string]*corev1.ConfigMap{policy.ConfigMapName: &written, cluster.LastGoodName: &kept} {
		if err := o.Client.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: name}, to); client.IgnoreNotFound(err) != nil {
			return config, fmt.Errorf("get ConfigMap %s: %w", name, err)
		}
	}
	config.Kept = policy.SameConfig(written.Data, kept.Data)
	return config, nil
}

// invalid reports whether an error says that a FenceConfig is not valid.
func invalid(err error) bool {
	_, is := errors.AsType[*policy.ConfigError](err)
	return is
}

func (o *Observer) replicas(ctx context.Context) (Replicas, error) {
	var seen Replicas
	key := client.ObjectKey{Namespace: o.Namespace, Name: policy.InstallName}
	deployment, err := found(ctx, o.Client, key, &appsv1.Deployment{})
	if err != nil || deployment == nil {
		return seen, err
	}
	seen.Deployment = deployment
	if seen.Service, err = found(ctx, o.Client, key, &corev1.Service{}); err != nil {
		return seen, err
	}
	pods, err := cluster.PodsOf(ctx, o.Client, deployment)
	if err != nil {
		return seen, err
	}
	seen.Pods = slices.DeleteFunc(pods, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	seen.Lease, err = found(ctx, o.Client, key, &coordinationv1.Lease{})
	return seen, err
}

// found reads an object; nil where there is none.
func found[T client.Object](ctx context.Context, reader client.Reader, key client.ObjectKey, o T) (T, error) {
	var none T
	err := reader.Get(ctx, key, o)
	if apierrors.IsNotFound(err) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("get %T %s: %w", o, key, err)
	}
	return o, nil
}

func (o *Observer) webhooks(ctx context.Context) (Webhooks, error) {
	var seen Webhooks
	for kind, to := range map[string]**unstructured.Unstructured{object.KindMutatingConfiguration: &seen.Mutating, object.KindValidatingConfiguration: &seen.Validating} {
		configuration := &unstructured.Unstructured{}
		configuration.SetGroupVersionKind(admissionKind(kind))
		var err error
		if *to, err = found(ctx, o.Client, client.ObjectKey{Name: policy.InstallName}, configuration); err != nil {
			return seen, err
		}
	}
	return seen, nil
}

func admissionKind(kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: kind}
}

// wanted is what this version installs for a FenceConfig, with certificates from where those of the Deployment come.
func (o *Observer) wanted(config *policy.Config, deployment *appsv1.Deployment) (Wanted, error) {
	options := install.Options{Namespace: o.Namespace, Certificates: install.SelfSigned, Enforcement: policy.Enforce}
	if config != nil {
		options.MeshConfigMaps, options.IstioNamespace = config.MeshConfigMaps, config.IstioNamespace
	}
	if deployment != nil {
		options.Certificates, options.MetricsAuth = install.CertificatesOf(deployment), install.HasMetricsAuth(deployment.Spec.Template.Spec)
	}
	objects, err := install.Render(options)
	if err != nil {
		return Wanted{}, err
	}
	var wanted Wanted
	for _, installed := range objects {
		switch installed.GetKind() {
		case object.KindMutatingConfiguration:
			wanted.Mutating = installed
		case object.KindValidatingConfiguration:
			wanted.Validating = installed
		case "Role", "ClusterRole":
			rights, err := rightsOf(installed)
			if err != nil {
				return Wanted{}, err
			}
			for _, r := range rights {
				// Whether it has the right to the mesh ConfigMaps everywhere does not matter.
				if config != nil && r.Resource == "configmaps" && r.Namespace == "" {
					r.Namespace = config.IstioNamespace
				}
				wanted.Rights = append(wanted.Rights, r)
			}
		}
	}
	return wanted, nil
}

// ca reads the certificate of the CA, which is in a Secret of this name whichever way certificates come.
func (o *Observer) ca(ctx context.Context) ([]byte, error) {
	var secret corev1.Secret
	if err := o.Client.Get(ctx, client.ObjectKey{Namespace: o.Namespace, Name: policy.InstallName + "-ca"}, &secret); err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	return secret.Data[corev1.TLSCertKey], nil
}

// others finds webhooks that are named as ours and are not, and Deployments of meshfence in other namespaces.
func (o *Observer) others(ctx context.Context) ([]Other, error) {
	var seen []Other
	for _, kind := range []string{object.KindMutatingConfiguration, object.KindValidatingConfiguration} {
		list := cluster.ListOf(admissionKind(kind))
		if err := o.Client.List(ctx, list); err != nil {
			return nil, fmt.Errorf("list %ss: %w", kind, err)
		}
		for i := range list.Items {
			if service := foreign(&list.Items[i], o.Namespace+"/"+policy.InstallName); service != "" {
				seen = append(seen, Other{kind + " " + list.Items[i].GetName(), "Service " + service})
			}
		}
	}
	var deployments appsv1.DeploymentList
	if err := o.Client.List(ctx, &deployments, client.MatchingLabels{"app.kubernetes.io/name": policy.InstallName}); err != nil {
		return nil, fmt.Errorf("list Deployments: %w", err)
	}
	for _, d := range deployments.Items {
		if d.Namespace != o.Namespace {
			seen = append(seen, Other{Object: "Deployment " + d.Namespace + "/" + d.Name})
		}
	}
	return seen, nil
}

// foreign returns what a configuration of webhooks that are named as ours calls, unless it is the one of ours.
func foreign(configuration *unstructured.Unstructured, ours string) string {
	for webhook, e := range entries(configuration) {
		if strings.HasSuffix(webhook, ".meshfence.io") && (configuration.GetName() != policy.InstallName || e.service() != ours) {
			return e.service()
		}
	}
	return ""
}

func (o *Observer) meshConfigs(ctx context.Context, config *policy.Config, scope meshconfig.Scope) (map[string]MeshConfig, error) {
	seen := map[string]MeshConfig{}
	for _, name := range config.MeshConfigMaps {
		var configMap corev1.ConfigMap
		err := o.Client.Get(ctx, client.ObjectKey{Namespace: config.IstioNamespace, Name: name}, &configMap)
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("get mesh ConfigMap %s: %w", name, err)
		}
		var mesh struct {
			DiscoverySelectors []any `json:"discoverySelectors"`
		}
		var looked MeshConfig
		if err := yaml.Unmarshal([]byte(configMap.Data[meshconfig.Key]), &mesh); err == nil {
			looked.Selects = len(mesh.DiscoverySelectors) > 0
		}
		if config.Holds.Has(policy.MeshConfig) {
			if plan, err := meshconfig.PlanFor(configMap.Data, configMap.Annotations, config.ClusterDomain, scope); err == nil {
				looked.Full = plan.Full
			}
		}
		seen[name] = looked
	}
	return seen, nil
}
