package cluster

import (
	"context"
	"fmt"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

// Options are what the state needs.
type Options struct {
	// Index is the one that is kept equal to the cluster; its config is the one in force at the start.
	Index *policy.Index
	// Rules are those that exemptions may name.
	Rules []leak.Rule
	// InstallNamespace is that of the ConfigMap with the FenceConfig.
	InstallNamespace string
	// Replica is the name of the Pod that this replica is, which it gives in Events that every replica makes; empty where
	// it is none.
	Replica string
	// Metrics tell what is in force.
	Metrics *Metrics
	// Nodes lists and watches the metadata of the Nodes, while the FenceConfig needs their localities. Setup takes
	// those of the manager's cluster where it is nil.
	Nodes toolscache.ListerWatcher
	// MeshConfigMaps lists and watches one mesh ConfigMap, while the FenceConfig names it for hold meshConfig. Setup
	// takes those of the manager's cluster where it is nil.
	MeshConfigMaps func(client.ObjectKey) toolscache.ListerWatcher
	// Stale says why the config at the start is the last good one and not the one in the cluster; nil where it is.
	Stale error
}

// Setup registers the state on the manager's cache and the gauge of Services beside the other metrics. The cache
// must have been made by NewCache with CacheOptions. It returns when the API server has told its kinds.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) (*State, error) {
	if o.Nodes == nil {
		client, err := metadata.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
		if err != nil {
			return nil, fmt.Errorf("client for Nodes: %w", err)
		}
		o.Nodes = nodesOf(client)
	}
	if o.MeshConfigMaps == nil {
		client, err := corev1client.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
		if err != nil {
			return nil, fmt.Errorf("client for mesh ConfigMaps: %w", err)
		}
		o.MeshConfigMaps = meshConfigMapsOf(client)
	}
	state, err := NewState(ctx, mgr.GetCache(), o, mgr.GetEventRecorder("meshfence"), mgr.GetLogger().WithName("state"))
	if err != nil {
		return nil, err
	}
	good := newLastGood(mgr.GetAPIReader(), mgr.GetClient(), o.InstallNamespace, state.log)
	if err := mgr.Add(good); err != nil {
		return nil, fmt.Errorf("add the keeper of the last good FenceConfig: %w", err)
	}
	who := &clusterIdentity{
		index: o.Index, reader: mgr.GetAPIReader(), recorder: mgr.GetEventRecorder("meshfence"), log: state.log,
		about: fenceConfigOf(o.InstallNamespace),
	}
	if err := mgr.Add(who); err != nil {
		return nil, fmt.Errorf("add the look whose the FenceConfig is: %w", err)
	}
	state.good = good.put // the informers do not run yet
	if err := state.watchObjects(ctx, mgr); err != nil {
		return nil, err
	}
	if err := mgr.Add(state); err != nil {
		return nil, fmt.Errorf("add the watches of what completes the FenceConfig: %w", err)
	}
	return state, o.Metrics.RegisterServices(o.Index.Count)
}
