package cluster

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// proxyID is the variable by which a proxy is told which cluster it is in.
const proxyID = "ISTIO_META_CLUSTER_ID"

// Identities returns the ids by which Istio knows this cluster: those of the istiods in Istio's namespace, and where there
// are none that of a proxy; none where there is neither. The reader must be past any cache.
func Identities(ctx context.Context, reader client.Reader, istioNamespace string) ([]string, error) {
	ids, err := idsOf(ctx, reader, policy.IstiodClusterVariable, policy.DefaultClusterID, client.InNamespace(istioNamespace), client.MatchingLabels{"app": "istiod"})
	if err != nil || len(ids) > 0 {
		return ids, err
	}
	// Injection puts this label on every Pod.
	return idsOf(ctx, reader, proxyID, "", client.HasLabels{"security.istio.io/tlsMode"}, client.Limit(1))
}

// idsOf returns what a variable says in some Pods, sorted, or otherwise where a Pod does not have it.
func idsOf(ctx context.Context, reader client.Reader, variable, otherwise string, options ...client.ListOption) ([]string, error) {
	var list corev1.PodList
	if err := reader.List(ctx, &list, options...); err != nil {
		return nil, fmt.Errorf("list Pods: %w", err)
	}
	var ids []string
	for _, pod := range list.Items {
		if id := variableOf(pod, variable, otherwise); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

func variableOf(pod corev1.Pod, variable, otherwise string) string {
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		for _, e := range c.Env {
			if e.Name == variable && e.Value != "" {
				return e.Value
			}
		}
	}
	return otherwise
}

// identityEvery is how often it is looked whether the FenceConfig is for this cluster, although it has not changed: its
// first Pods may come later.
const identityEvery = 10 * time.Minute

// clusterIdentity tells of a FenceConfig that is for another cluster, as one is that was copied. Only the leader looks.
type clusterIdentity struct {
	index    *policy.Index
	reader   client.Reader
	recorder events.EventRecorder
	log      logr.Logger
	about    *corev1.ObjectReference
	told     string
}

// NeedLeaderElection reports whether only the leader looks.
func (i *clusterIdentity) NeedLeaderElection() bool { return true }

// Start looks whenever there is another config, until the context ends.
func (i *clusterIdentity) Start(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	defer i.index.Subscribe(func(c policy.Change) {
		if c == (policy.Change{}) {
			put(changed)
		}
	})()
	for {
		i.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(identityEvery):
		}
	}
}

// look tells of a mistake once. What cannot be read is no mistake.
func (i *clusterIdentity) look(ctx context.Context) {
	config := i.index.Config()
	ids, err := Identities(ctx, i.reader, config.IstioNamespace)
	if err != nil {
		i.log.Info("which cluster this is cannot be told", "reason", err.Error())
		return
	}
	mistake := config.Mistakes(ids)
	if mistake != "" && mistake != i.told {
		i.log.Info("the FenceConfig is for another cluster", "reason", mistake)
		i.recorder.Eventf(i.about, nil, corev1.EventTypeWarning, "UnknownCluster", "Hold", "%.900s", mistake)
	}
	i.told = mistake
}

// fenceConfigOf names the ConfigMap of the FenceConfig, which need not be there.
func fenceConfigOf(namespace string) *corev1.ObjectReference {
	return &corev1.ObjectReference{APIVersion: "v1", Kind: object.KindConfigMap, Namespace: namespace, Name: policy.ConfigMapName}
}
