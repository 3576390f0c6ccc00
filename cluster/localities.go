package cluster

import (
	"fmt"
	"time"

	toolscache "k8s.io/client-go/tools/cache"

	"github.com/meshfence/meshfence/policy"
)

// localities are what is known of the Nodes of this cluster, which are watched only while the FenceConfig needs
// them.
type localities struct {
	source toolscache.ListerWatcher
	counts policy.NodeLocalities
	failed error // why the Nodes cannot be read
	// refused is since when reading them is forbidden.
	refused time.Time
	last    policy.Shares
}

// asked reports whether the API server has answered, be it that the Nodes cannot be read.
func (l *localities) asked() bool { return l.counts != nil || l.failed != nil }

// complete returns a config with the localities of the Nodes, or else with the last good ones, unless they
// have become another cluster's, and the problem if there is one.
func (l *localities) complete(config *policy.Config) (complete *policy.Config, problem error) {
	shares, err := l.shares(config)
	if err == nil {
		l.last = shares
		return config.WithShares(shares), nil
	}
	if l.last != nil && !config.Shared(l.last) {
		return config.WithShares(l.last), fmt.Errorf("%w; the last good ones stay in force", err)
	}
	return config.WithoutShares(err), fmt.Errorf("%w; until they are, hold locality holds nothing new", err)
}

func (l *localities) shares(config *policy.Config) (policy.Shares, error) {
	if l.failed != nil {
		return nil, &policy.LocalityError{Cluster: config.Clusters[0], Reason: "its Nodes cannot be read: " + l.failed.Error()}
	}
	return config.NodeShares(l.counts)
}
