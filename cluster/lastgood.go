package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
)

// LastGoodName is the name of the ConfigMap that keeps the last good FenceConfig, under the same key. Only meshfence
// writes it, and whoever wants to be rid of a config deletes what is in it, too.
const LastGoodName = policy.ConfigMapName + "-last-good"

// StartConfig returns the FenceConfig to start with: the one in the cluster or, where that was deleted or is bad, the last
// good one, and why. The error is a *policy.ConfigError where there is a bad one and no good one; any other may go by itself.
func StartConfig(ctx context.Context, reader client.Reader, source policy.Source) (config *policy.Config, stale, err error) {
	config, err = LoadConfig(ctx, reader, source)
	if err == nil {
		return config, nil, nil
	}
	if !apierrors.IsNotFound(err) && !isConfigError(err) {
		return nil, nil, err
	}
	stale = err
	good, err := loadConfig(ctx, reader, source, LastGoodName)
	switch {
	case err == nil:
		return good, fmt.Errorf("%w; the last good one is in force", stale), nil
	case apierrors.IsNotFound(err), isConfigError(err):
		return nil, nil, stale
	}
	return nil, nil, err
}

// lastGood writes the FenceConfig that is in force into a ConfigMap of its own, from which a replica starts when the
// one that users write is gone. Only the leader writes.
type lastGood struct {
	reader client.Reader // past any cache
	writer client.Writer
	key    client.ObjectKey
	log    logr.Logger

	mu   sync.Mutex
	text string
	// wake holds a token when there is another text.
	wake chan struct{}
}

func newLastGood(reader client.Reader, writer client.Writer, namespace string, log logr.Logger) *lastGood {
	return &lastGood{
		reader: reader, writer: writer, key: client.ObjectKey{Namespace: namespace, Name: LastGoodName},
		log: log, wake: make(chan struct{}, 1),
	}
}

// put takes a config that is in force.
func (g *lastGood) put(text string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.text = text
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// NeedLeaderElection reports whether only the leader writes.
func (g *lastGood) NeedLeaderElection() bool { return true }

// Start writes whenever there is another config, until the context ends.
func (g *lastGood) Start(ctx context.Context) error {
	for {
		if err := Retry(ctx, g.log, "keep the last good FenceConfig", func() error { return g.write(ctx) }); err != nil {
			return nil //nolint:nilerr // the context has ended
		}
		select {
		case <-ctx.Done():
			return nil
		case <-g.wake:
		}
	}
}

func (g *lastGood) write(ctx context.Context) error {
	g.mu.Lock()
	text := g.text
	g.mu.Unlock()
	if text == "" {
		return nil // none has been read yet
	}
	object := &corev1.ConfigMap{}
	if err := g.reader.Get(ctx, g.key, object); err != nil {
		return fmt.Errorf("get ConfigMap %s: %w", g.key, err)
	}
	if object.Data[policy.ConfigMapKey] == text {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"data": map[string]string{policy.ConfigMapKey: text}})
	if err != nil {
		return fmt.Errorf("encode ConfigMap %s: %w", g.key, err)
	}
	if err := g.writer.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("write ConfigMap %s: %w", g.key, err)
	}
	g.log.Info("kept the FenceConfig as the last good one", "configMap", g.key.String())
	return nil
}
