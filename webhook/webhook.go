// Package webhook is the admission transport: it reads reviews, asks package policy, and answers with a
// patch, a refusal or warnings. It also keeps the index of package policy equal to the cluster, and serves
// the certificate.
package webhook

import (
	"context"
	"fmt"

	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/meshfence/meshfence/policy/admit"
)

// Setup registers both admission paths on the manager's webhook server, the state on its cache and the gauge of
// Services beside the other metrics. The cache must have been made with CacheOptions. The Reader, Nodes,
// MeshConfigMaps and Synced of the options are the manager's and the state's own. It returns when the API server has
// told its kinds.
func Setup(ctx context.Context, mgr ctrl.Manager, o Options) (*State, error) {
	if o.Reader == nil {
		o.Reader = mgr.GetAPIReader()
	}
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
	var state *State // set before the manager starts to serve
	o.Synced = func() bool { return state.Synced() }
	a, err := New(o)
	if err != nil {
		return nil, err
	}
	state, err = NewState(ctx, mgr.GetCache(), o, mgr.GetEventRecorder("meshfence"), mgr.GetLogger().WithName("state"))
	if err != nil {
		return nil, err
	}
	good := newLastGood(mgr.GetAPIReader(), mgr.GetClient(), o.InstallNamespace, state.log)
	if err := mgr.Add(good); err != nil {
		return nil, fmt.Errorf("add the keeper of the last good FenceConfig: %w", err)
	}
	state.good = good.put // the informers do not run yet
	if err := state.watchObjects(ctx, mgr); err != nil {
		return nil, err
	}
	if err := mgr.Add(state); err != nil {
		return nil, fmt.Errorf("add the watches of what completes the FenceConfig: %w", err)
	}
	if err := o.Metrics.RegisterServices(o.Index.Count); err != nil {
		return nil, err
	}
	server := mgr.GetWebhookServer()
	server.Register(admit.MutatePath, a.Mutator())
	server.Register(admit.ValidatePath, a.Validator())
	return state, nil
}
