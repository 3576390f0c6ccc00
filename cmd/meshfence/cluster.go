package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// clusterFlags say which cluster a command looks at, and where its FenceConfig is.
type clusterFlags struct {
	kubeconfig
	config           string
	installNamespace string
}

func (f *clusterFlags) addTo(flags *pflag.FlagSet) {
	f.kubeconfig.addFlags(flags)
	flags.StringVar(&f.config, "config", "", "FenceConfig file; without it the ConfigMap "+policy.ConfigMapName+" counts")
	flags.StringVar(&f.installNamespace, "install-namespace", policy.InstallNamespace, "namespace of that ConfigMap in the cluster")
}

// scope reads the FenceConfig, the Namespaces, the Services and the mesh ConfigMaps.
func (f *clusterFlags) scope(ctx context.Context) (*audit.Auditor, client.Client, error) {
	restConfig, err := f.kubeconfig.load()
	if err != nil {
		return nil, nil, err
	}
	api, err := client.New(restConfig, client.Options{})
	if err != nil {
		return nil, nil, fmt.Errorf("find the API server: %w", err)
	}
	config, err := f.readConfig(ctx, api)
	if err != nil {
		return nil, nil, err
	}
	a, err := scopeOf(ctx, api, config)
	return a, api, err
}

// scopeOf returns an auditor whose index has the scope of a FenceConfig, completed by the Nodes and the mesh ConfigMaps.
func scopeOf(ctx context.Context, api client.Client, config *policy.Config) (*audit.Auditor, error) {
	if config.NeedsNodes() {
		var list corev1.NodeList
		if err := api.List(ctx, &list); err != nil {
			return nil, fmt.Errorf("list Nodes: %w", err)
		}
		var nodes []map[string]string
		for _, n := range list.Items {
			nodes = append(nodes, n.Labels)
		}
		var err error
		if config, err = withNodes(config, nodes); err != nil {
			return nil, err
		}
	}
	a := &audit.Auditor{Index: policy.NewIndex(config), Guard: leak.NewGuard(leak.Rules()), Reader: api, Now: time.Now}
	if err := cluster.ReadScope(ctx, api, a.Index); err != nil {
		return nil, err
	}
	return a, cluster.ReadMeshConfig(ctx, api, a.Index)
}

// auditor reads what there is besides.
func (f *clusterFlags) auditor(ctx context.Context) (*audit.Auditor, error) {
	a, api, err := f.scope(ctx)
	if err != nil {
		return nil, err
	}
	return a, cluster.ReadObjects(ctx, api, api.RESTMapper(), a.Index)
}

func (f *clusterFlags) readConfig(ctx context.Context, reader client.Reader) (*policy.Config, error) {
	rules := leak.Rules()
	if f.config == "" {
		// What a replica that starts now would have in force.
		config, stale, err := cluster.StartConfig(ctx, reader, policy.ConfigMapSource(f.installNamespace, leak.IDs(rules)))
		if stale != nil {
			fmt.Fprintf(os.Stderr, "meshfence: %v\n", stale)
		}
		return config, err
	}
	data, err := os.ReadFile(f.config)
	if err != nil {
		return nil, err
	}
	return policy.ParseConfig(policy.Source{File: f.config, InstallNamespace: f.installNamespace, Rules: leak.IDs(rules)}, data)
}
