package cluster

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/meshconfig"
)

const (
	// meshGrace is how long a mesh ConfigMap may lack the entry of a host that can be added before hold meshConfig
	// does not count any more. The leader adds it within a second, and a new leader within this time.
	meshGrace = 10 * time.Second
	// forbiddenGrace is how long reading what was read before may be forbidden before that counts: an API server that starts
	// forbids everything until it knows its rules.
	forbiddenGrace = 10 * time.Second
	// meshBlind is how long a mesh ConfigMap may fail to be read, for another reason than a missing right, before
	// what was seen of it last does not count any more.
	meshBlind = time.Minute
	// meshGather is how long changes of the scope are gathered before the mesh ConfigMaps are judged, and
	// meshRest how many times as long as that took, so that it costs little where there are very many Services.
	meshGather = 200 * time.Millisecond
	meshRest   = 20
)

// meshes are what is known of the mesh ConfigMaps that the FenceConfig names. Nothing waits for them unless it names
// hold meshConfig.
type meshes struct {
	source func(client.ObjectKey) toolscache.ListerWatcher
	// changed holds a token when the scope or a ConfigMap has changed.
	changed chan struct{}
	// judged are the ConfigMaps that fault speaks of.
	judged []client.ObjectKey
	fault  *policy.HoldFault
	// ingress is which Ingresses istiod reads; nil where that is not known.
	ingress *policy.IngressReading
}

func newMeshes(o Options) meshes {
	return meshes{source: o.MeshConfigMaps, changed: make(chan struct{}, 1)}
}

// meshMapsOf lists the mesh ConfigMaps that a config needs.
func meshMapsOf(config *policy.Config) []client.ObjectKey {
	if !config.Holds.Has(policy.MeshConfig) {
		return nil
	}
	return namedMeshMaps(config)
}

// namedMeshMaps lists the mesh ConfigMaps that a config names.
func namedMeshMaps(config *policy.Config) []client.ObjectKey {
	var keys []client.ObjectKey
	for _, name := range config.MeshConfigMaps {
		keys = append(keys, client.ObjectKey{Namespace: config.IstioNamespace, Name: name})
	}
	return keys
}

// asked reports whether the API server has answered for every mesh ConfigMap of a config, be it that one cannot be read.
func (m *meshes) asked(config *policy.Config) bool {
	needed := meshMapsOf(config)
	return len(needed) == 0 || slices.Equal(m.judged, needed)
}

// followMeshes watches the mesh ConfigMaps that the FenceConfig names, and judges them, until the context ends.
func (c *completion) followMeshes(ctx context.Context) {
	f := &meshFollower{completion: c, watched: map[client.ObjectKey]*meshWatch{}}
	defer f.running.Wait()
	defer c.index.Subscribe(func(policy.Change) { put(c.meshes.changed) })()
	var again, agree <-chan time.Time
	rest := meshGather
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wakeMeshes:
			f.follow(ctx)
		case <-c.meshes.changed:
			select {
			case <-ctx.Done():
				return
			case <-time.After(rest):
			}
		case <-again:
		case <-agree:
			agree = nil
			c.remind()
		}
		start := time.Now()
		changed, next := f.judge(start)
		if again = nil; next > 0 {
			again = time.After(next)
		}
		if changed {
			agree = time.After(nodesAgree)
		}
		rest = max(meshGather, meshRest*time.Since(start))
	}
}

// meshFollower is the one goroutine that judges the mesh ConfigMaps.
type meshFollower struct {
	*completion

	watched map[client.ObjectKey]*meshWatch
	running sync.WaitGroup
	// reasons are what the last fault was made of.
	reasons string
}

// follow starts and ends watches, so that there is one for each mesh ConfigMap that the config names.
func (f *meshFollower) follow(ctx context.Context) {
	if f.meshes.source == nil {
		return
	}
	needed := namedMeshMaps(f.current())
	for key, w := range f.watched {
		if !slices.Contains(needed, key) {
			w.cancel()
			delete(f.watched, key)
		}
	}
	for _, key := range needed {
		if f.watched[key] == nil {
			w := &meshWatch{}
			var watching context.Context
			watching, w.cancel = context.WithCancel(ctx)
			f.watched[key] = w
			f.running.Go(func() {
				if err := w.run(watching, f.meshes.source(key), f.log.WithValues("configMap", key.String()), func() { put(f.meshes.changed) }); err != nil {
					f.log.Error(err, "mesh ConfigMap cannot be watched", "configMap", key.String())
				}
			})
		}
	}
}

func (c *completion) current() *policy.Config {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.config
}

// judge works out whether hold meshConfig is true, once all its ConfigMaps have been asked for. It reports
// whether that is news, and when to look again without a change; 0 where that is not needed.
func (f *meshFollower) judge(now time.Time) (changed bool, again time.Duration) {
	config := f.current()
	filled := f.confirmed || f.filled()
	if !filled {
		again = meshGather
	}
	view := f.index.View()
	var faults []*policy.HoldFault
	var reasons strings.Builder
	keys := meshMapsOf(config)
	for _, key := range keys {
		w, ok := f.watched[key]
		if !ok {
			return false, 0 // a token is on its way
		}
		seen, ok := w.look()
		if !ok {
			return false, 0
		}
		fault, next := w.fault(seen, key, config.ClusterDomain, view, now)
		again = sooner(again, next)
		if fault != nil {
			faults = append(faults, fault)
			fmt.Fprintf(&reasons, "%s %s %s\n", seen.version(), fault.State(), fault.Reason)
		}
	}
	ingress, next := f.ingress(config, now)
	again = sooner(again, next)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.config != config {
		return false, 0 // a token is on its way
	}
	f.confirmed = filled
	if text := reasons.String(); text != f.reasons {
		f.reasons, f.meshes.fault = text, meshconfig.JoinFaults(faults)
	}
	f.meshes.ingress = ingress
	inForce := f.index.Config()
	if first := !f.meshes.asked(config); first || f.meshes.fault != inForce.Fault(policy.MeshConfig) || !ingress.SameAs(inForce.IngressReading()) {
		f.meshes.judged = keys
		replaces := f.written != nil // nobody can have refused anything by the first one
		return f.answered() && replaces, again
	}
	return false, again
}

// sooner returns the shorter of two times to wait; 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b > 0 && b < a {
		return b
	}
	return a
}

// ingress returns which Ingresses istiod reads by the mesh ConfigMaps; nil where one of them is not known. It also
// returns when to look again without a change; 0 where that is not needed.
func (f *meshFollower) ingress(config *policy.Config, now time.Time) (reading *policy.IngressReading, again time.Duration) {
	var readings []*policy.IngressReading
	for _, key := range namedMeshMaps(config) {
		w, ok := f.watched[key]
		if !ok {
			return nil, 0
		}
		seen, ok := w.look()
		if !ok {
			return nil, 0
		}
		left, reason := seen.lost(now)
		if reason != nil {
			return nil, 0
		}
		again = sooner(again, left)
		readings = append(readings, w.text(seen.object, key, config.ClusterDomain).Ingress())
	}
	return meshconfig.JoinIngress(readings), again
}
