package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/xds"
)

// fencedHosts returns the hosts to verify, and the cluster domain where a FenceConfig names it.
func (f *verifyFlags) fencedHosts(ctx context.Context, in io.Reader) (hosts []xds.Host, domain string, err error) {
	if len(f.hosts) > 0 {
		for _, host := range f.hosts {
			hosts = append(hosts, xds.Host{FQDN: host, Fence: policy.Strict})
		}
		return hosts, "", nil
	}
	read := f.readCluster
	if len(f.scene.paths) > 0 {
		read = func(context.Context) (*policy.Index, map[policy.Host]map[string]string, error) {
			return f.readManifests(in)
		}
	}
	index, services, err := read(ctx)
	if err != nil {
		return nil, "", err
	}
	domain = index.Config().ClusterDomain
	view := index.View()
	for service, annotations := range services {
		if fence := view.Service(service, annotations).Fence; fence != policy.None {
			hosts = append(hosts, xds.Host{FQDN: service.FQDN(domain), Fence: fence})
		}
	}
	slices.SortFunc(hosts, func(a, b xds.Host) int { return strings.Compare(a.FQDN, b.FQDN) })
	return hosts, domain, nil
}

// readManifests returns the scope of manifests, and their Services with their annotations.
func (f *verifyFlags) readManifests(in io.Reader) (*policy.Index, map[policy.Host]map[string]string, error) {
	f.scene.namespace = "default" // of the objects that name none
	scene, err := f.scene.load(in)
	if err != nil {
		return nil, nil, err
	}
	services := map[policy.Host]map[string]string{}
	for _, m := range scene.manifests {
		if gk := m.groupKind(); gk.Group == "" && gk.Kind == policy.KindService {
			services[policy.Host{Namespace: m.Namespace, Name: m.Name}] = m.Annotations
		}
	}
	return scene.index, services, nil
}

// readCluster returns the scope of the cluster of the kubeconfig, and its Services with their annotations.
func (f *verifyFlags) readCluster(ctx context.Context) (*policy.Index, map[policy.Host]map[string]string, error) {
	config, err := f.kubeconfig.load()
	if err != nil {
		return nil, nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, nil, err
	}
	fences, err := f.readConfig(ctx, client)
	if err != nil {
		return nil, nil, err
	}
	index := policy.NewIndex(fences)
	namespaces, err := client.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list namespaces: %w", err)
	}
	for _, namespace := range namespaces.Items {
		index.SetNamespace(namespace.Name, namespace.Labels)
	}
	list, err := client.CoreV1().Services(metav1.NamespaceAll).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, fmt.Errorf("list services: %w", err)
	}
	services := map[policy.Host]map[string]string{}
	for _, service := range list.Items {
		services[policy.Host{Namespace: service.Namespace, Name: service.Name}] = service.Annotations
	}
	return index, services, nil
}

func (f *verifyFlags) readConfig(ctx context.Context, client kubernetes.Interface) (*policy.Config, error) {
	source := policy.Source{File: f.scene.config, InstallNamespace: f.installNamespace, Rules: leak.IDs(leak.Rules())}
	if f.scene.config != "" {
		data, err := os.ReadFile(f.scene.config)
		if err != nil {
			return nil, err
		}
		return policy.ParseConfig(source, data)
	}
	configMap, err := client.CoreV1().ConfigMaps(f.installNamespace).Get(ctx, policy.ConfigMapName, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the FenceConfig: %w", err)
	}
	source.File = fmt.Sprintf("configmap %s/%s: data[%s]", f.installNamespace, policy.ConfigMapName, policy.ConfigMapKey)
	return policy.ParseConfig(source, []byte(configMap.Data[policy.ConfigMapKey]))
}
