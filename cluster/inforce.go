package cluster

import (
	"fmt"
	"maps"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// completion puts FenceConfigs in force. It completes them with what this replica sees of the cluster: the
// localities of its Nodes, and whether the mesh ConfigMaps hold what hold meshConfig claims.
type completion struct {
	index    *policy.Index
	metrics  *Metrics
	recorder events.EventRecorder
	log      logr.Logger
	// wakeNodes and wakeMeshes hold a token when what must be watched may have changed.
	wakeNodes, wakeMeshes chan struct{}

	mu     sync.Mutex
	config *policy.Config // as it is written
	object *corev1.ConfigMap
	pod    runtime.Object // the replica; nil where it is no Pod
	// written is the config as written that is in force; nil until one has got what it needs.
	written *policy.Config
	fresh   bool // the reload of the config has not been counted

	localities localities
	meshes     meshes
	// filled reports whether the index holds the whole cluster, and confirmed reports whether the mesh ConfigMaps have been
	// judged since it does.
	filled    func() bool
	confirmed bool
	// reported are the problems that were reported last, by hold.
	reported map[policy.Hold]string
}

// newCompletion returns a completion for the config that the index has.
func newCompletion(o Options, filled func() bool, recorder events.EventRecorder, log logr.Logger) *completion {
	c := &completion{
		filled: filled,
		index:  o.Index, metrics: o.Metrics, recorder: recorder, log: log,
		wakeNodes: make(chan struct{}, 1), wakeMeshes: make(chan struct{}, 1),
		config: o.Index.Config(), reported: map[policy.Hold]string{},
		localities: localities{source: o.Nodes}, meshes: newMeshes(o),
	}
	if !c.config.NeedsNodes() && !c.config.Holds.Has(policy.MeshConfig) {
		c.written = c.config
		c.metrics.configInForce(c.config)
		c.metrics.holdsActive(c.config)
	}
	c.object = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: o.InstallNamespace, Name: policy.ConfigMapName}}
	if o.Replica != "" {
		c.pod = &corev1.ObjectReference{APIVersion: "v1", Kind: object.KindPod, Namespace: o.InstallNamespace, Name: o.Replica}
	}
	c.poke()
	return c
}

// use puts the config of a ConfigMap in force, as soon as it is known whether what it needs can be read.
func (c *completion) use(config *policy.Config, object *corev1.ConfigMap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.config, c.object, c.fresh = config, object, true
	c.poke()
	if c.asked() {
		c.apply()
	}
}

// outdated reports whether the ConfigMap holds another config by now, which cannot be used.
func (c *completion) outdated() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh = false
}

// settled reports whether a config is in force with what it needs, as far as that can be had. A later one that
// waits for an answer does not count, because the one before it stays in force.
func (c *completion) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.written != nil && (c.confirmed || !c.written.Holds.Has(policy.MeshConfig))
}

// asked reports whether the API server has answered for all that the config needs, be it that it cannot be read.
func (c *completion) asked() bool {
	return (!c.config.NeedsNodes() || c.localities.asked()) && c.meshes.asked(c.config)
}

func (c *completion) poke() {
	for _, wake := range []chan struct{}{c.wakeNodes, c.wakeMeshes} {
		put(wake)
	}
}

// put puts a token into a channel unless one is in it.
func put(wake chan<- struct{}) {
	select {
	case wake <- struct{}{}:
	default:
	}
}

// answered applies the config where all that it needs has been asked for, and reports whether that is another one.
func (c *completion) answered() (changed bool) { return c.asked() && c.apply() }

// apply puts the config in force with what is known, and reports whether that is another one.
func (c *completion) apply() (changed bool) {
	config, problem := c.complete()
	if changed = c.config != c.written || !c.unchanged(config); changed {
		c.index.SetConfig(config)
		c.log.Info("FenceConfig is in force", "holds", config.Holds.String(), "active", config.Active().String(), "enforcement", config.Enforcement)
		if shares, err := config.Shares(config.Clusters[0]); c.config.NeedsNodes() && err == nil {
			c.log.Info("localities of this cluster are in force", "shares", shares)
		}
	}
	if c.config != c.written {
		c.metrics.configInForce(c.config)
	}
	c.written = c.config
	if c.fresh {
		c.fresh = false
		c.metrics.configReloaded(reloadSuccess)
	}
	c.metrics.holdsActive(config)
	c.reportLocalities(problem)
	c.reportHolds(config)
	return changed
}

// complete returns the config with what is known, and the problem with the localities if there is one.
func (c *completion) complete() (config *policy.Config, problem error) {
	config = c.config
	if config.NeedsNodes() {
		config, problem = c.localities.complete(config)
	}
	return config.WithMeshConfigFault(c.meshes.fault).WithIngressReading(c.meshes.ingress), problem
}

// unchanged reports whether the index has the same localities, faults and readings already.
func (c *completion) unchanged(config *policy.Config) bool {
	cluster, stands := config.Clusters[0], c.index.Config()
	has, hasError := stands.Shares(cluster)
	want, wantError := config.Shares(cluster)
	return maps.Equal(has, want) && fmt.Sprint(hasError) == fmt.Sprint(wantError) &&
		stands.Fault(policy.MeshConfig) == config.Fault(policy.MeshConfig) && stands.IngressReading().SameAs(config.IngressReading())
}

// remind tells of the last change once more: what a replica refused that had not seen it yet, the backfill tries
// again.
func (c *completion) remind() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index.SetConfig(c.index.Config())
}

// reportLocalities tells of a problem with the localities once, and of its end.
func (c *completion) reportLocalities(problem error) {
	c.metrics.localitiesKnown(problem == nil)
	var text string
	if problem != nil {
		text = problem.Error()
	}
	switch {
	case !c.news(policy.Locality, text):
	case problem == nil:
		c.log.Info("the localities of this cluster are known again")
	default:
		c.log.Error(problem, "FenceConfig lacks localities")
		c.recorder.Eventf(c.object, nil, corev1.EventTypeWarning, "UnknownLocalities", "ReadNodes", "%s", summary(problem))
	}
}

// reportHolds tells of other holds than locality that are not active, once for each reason, and of the end of it.
// Every replica does, in Events of its own, so that one that hangs hides nothing.
func (c *completion) reportHolds(config *policy.Config) {
	for _, hold := range []policy.Hold{policy.MeshConfig, policy.Subset} {
		fault := config.Fault(hold)
		var text string
		if fault != nil {
			text = fmt.Sprintf("hold %s is named and not active, because it is %s: %s", hold, fault.State(), fault.Reason)
		}
		switch {
		case !c.news(hold, text):
		case fault == nil:
			c.log.Info("hold is active again, or not named any more", "hold", hold.String())
			c.recorder.Eventf(c.object, c.pod, corev1.EventTypeNormal, "HoldActive", "Hold", "hold %s is active again, or not named any more", hold)
		default:
			c.log.Info("hold is not active", "hold", hold.String(), "state", fault.State(), "reason", fault.Reason, "active", config.Active().String())
			c.recorder.Eventf(c.object, c.pod, corev1.EventTypeWarning, "HoldNotActive", "Hold", "%.900s", text)
		}
	}
}

// news reports whether a text about a hold is another one than the last.
func (c *completion) news(hold policy.Hold, text string) bool {
	old := c.reported[hold]
	c.reported[hold] = text
	return text != old
}
