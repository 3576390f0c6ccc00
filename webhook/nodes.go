package webhook

import (
	"fmt"
	"maps"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"

	"github.com/meshfence/meshfence/policy"
)

// nodes puts FenceConfigs in force. To one that needs it, it adds the localities of this cluster's Nodes,
// which it watches only while such a one is in force.
type nodes struct {
	index    *policy.Index
	source   toolscache.ListerWatcher
	metrics  *Metrics
	recorder events.EventRecorder
	log      logr.Logger
	// wake holds a token when the need for Nodes may have changed.
	wake chan struct{}

	mu     sync.Mutex
	config *policy.Config // as it is written
	object *corev1.ConfigMap
	// written is the config as written that is in force; nil until one has got what it needs.
	written *policy.Config
	fresh   bool // the reload of the config has not been counted
	counts  policy.NodeLocalities
	failed  error // why the Nodes cannot be read
	last    policy.Shares
	told    string // the last problem that was reported
}

// newNodes returns nodes for the config that the index has.
func newNodes(o Options, recorder events.EventRecorder, log logr.Logger) *nodes {
	n := &nodes{index: o.Index, source: o.Nodes, metrics: o.Metrics, recorder: recorder, log: log, wake: make(chan struct{}, 1)}
	n.config = o.Index.Config()
	if !n.config.NeedsNodes() {
		n.written = n.config
	}
	n.object = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: o.InstallNamespace, Name: policy.ConfigMapName}}
	n.poke()
	return n
}

// use puts the config of a ConfigMap in force, as soon as it is known whether Nodes that it needs can be read.
func (n *nodes) use(config *policy.Config, object *corev1.ConfigMap) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.config, n.object, n.fresh = config, object, true
	n.poke()
	if !config.NeedsNodes() || n.asked() {
		n.apply()
	}
}

// outdated says that the ConfigMap holds another config by now, which cannot be used.
func (n *nodes) outdated() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fresh = false
}

// settled says that a config is in force with what it needs, as far as that can be had. A later one that
// waits for Nodes does not count, because the one before it stays in force.
func (n *nodes) settled() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.written != nil
}

// asked says that the API server has answered, be it that the Nodes cannot be read.
func (n *nodes) asked() bool { return n.counts != nil || n.failed != nil }

func (n *nodes) poke() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// apply puts the config in force with what is known of the Nodes, and says whether that is another one.
func (n *nodes) apply() (changed bool) {
	config, problem := n.complete()
	if changed = n.config != n.written || !n.standing(config); changed {
		n.index.SetConfig(config)
		n.log.Info("FenceConfig is in force", "holds", config.Holds.String(), "enforcement", config.Enforcement)
		if shares, err := config.Shares(config.Clusters[0]); n.config.NeedsNodes() && err == nil {
			n.log.Info("localities of this cluster are in force", "shares", shares)
		}
	}
	n.written = n.config
	if n.fresh {
		n.fresh = false
		n.metrics.configReloaded(reloadSuccess)
	}
	n.report(problem)
	return changed
}

// complete returns the config with the localities of the Nodes, or else with the last good ones, unless they
// have become another cluster's, and the problem if there is one.
func (n *nodes) complete() (config *policy.Config, problem error) {
	if !n.config.NeedsNodes() {
		return n.config, nil
	}
	shares, err := n.shares()
	if err == nil {
		n.last = shares
		return n.config.WithShares(shares), nil
	}
	if n.last != nil && !n.config.Shared(n.last) {
		return n.config.WithShares(n.last), fmt.Errorf("%w; the last good ones stay in force", err)
	}
	return n.config.WithoutShares(err), fmt.Errorf("%w; until they are, hold locality holds nothing new", err)
}

func (n *nodes) shares() (policy.Shares, error) {
	if n.failed != nil {
		return nil, &policy.LocalityError{Cluster: n.config.Clusters[0], Reason: "its Nodes cannot be read: " + n.failed.Error()}
	}
	return n.config.NodeShares(n.counts)
}

// standing says whether the index has the same localities already.
func (n *nodes) standing(config *policy.Config) bool {
	cluster := config.Clusters[0]
	has, hasError := n.index.Config().Shares(cluster)
	want, wantError := config.Shares(cluster)
	return maps.Equal(has, want) && fmt.Sprint(hasError) == fmt.Sprint(wantError)
}

// report tells of a problem once, and of its end.
func (n *nodes) report(problem error) {
	n.metrics.localitiesKnown(problem == nil)
	var told string
	if problem != nil {
		told = problem.Error()
	}
	if told == n.told {
		return
	}
	n.told = told
	if problem == nil {
		n.log.Info("the localities of this cluster are known again")
		return
	}
	n.log.Error(problem, "FenceConfig lacks localities")
	n.recorder.Eventf(n.object, nil, corev1.EventTypeWarning, "UnknownLocalities", "ReadNodes", "%s", summary(problem))
}
