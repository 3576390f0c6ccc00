package meshconfig

import (
	"slices"
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
)

// look is by what a ConfigMap was found in line or written, and when.
type look struct {
	config  *policy.Config
	entries []policy.ClusterLocalEntry
	at      time.Time
}

// looks are the last ones by ConfigMap, so that a Service which changes no entry has none read. They are safe for use by many
// at once.
type looks struct {
	mu   sync.Mutex
	last map[client.ObjectKey]look
}

// same reports whether a look would find what the last one found, which was not so long ago.
func (l *looks) same(key client.ObjectKey, now look, long time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, ok := l.last[key]
	return ok && last.config == now.config && slices.Equal(last.entries, now.entries) && now.at.Sub(last.at) < long
}

func (l *looks) put(key client.ObjectKey, now look) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last[key] = now
}

// forget is called when a ConfigMap has changed, and when it could not be written.
func (l *looks) forget(key client.ObjectKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.last, key)
}
