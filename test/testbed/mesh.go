package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// ToolIstiod is istiod, for [Main], [Run] and [Tool]. [StartMesh] needs it.
const ToolIstiod = "pilot-discovery"

// The clusters of a [Mesh].
const (
	FirstCluster  = "m1c1"
	SecondCluster = "m1c2"
)

// MeshOptions say what mesh to start.
type MeshOptions struct {
	// Shared starts one istiod, which reads its configuration from the first cluster and serves the workloads of both.
	// Without it each cluster has an istiod of its own that reads the other's endpoints (multi-primary).
	Shared bool
	// NodeLabels are the labels of each cluster's Node, such as topology.kubernetes.io/region, by cluster name.
	NodeLabels map[string]map[string]string
	// Env is added to the environment of every istiod.
	Env []string
	// Envoy lets [Mesh.StartEnvoy] start proxies: every istiod leaves out what only Istio's own build of Envoy has.
	Envoy bool
	// Routes adds the CustomResourceDefinitions of the Gateway API and of Multi-Cluster Services to every cluster.
	Routes bool
}

// Mesh is one Istio mesh of the clusters m1c1 and m1c2, which share one flat network.
type Mesh struct {
	// Clusters are m1c1 and m1c2.
	Clusters []*Cluster

	options MeshOptions
	istiods []*Process
	hosts   atomic.Int32
}

// StartMesh starts two clusters and their istiods, each with an untouched mesh ConfigMap, and returns when every
// istiod has read both clusters. The tools must include [ToolIstiod].
func StartMesh(ctx context.Context, o MeshOptions) (*Mesh, error) {
	m := &Mesh{options: o}
	if err := m.start(ctx); err != nil {
		err = fmt.Errorf("start mesh: %w\n%s", err, m.Logs(logTail))
		m.Stop()
		return nil, err
	}
	return m, nil
}

func (m *Mesh) start(ctx context.Context) error {
	names := []string{FirstCluster, SecondCluster}
	clusters := make([]*Cluster, len(names))
	err := each(names, func(i int, name string) error {
		var err error
		clusters[i], err = Start(ctx, Options{
			Number: i + 1, Name: name, NodeLabels: m.options.NodeLabels[name], Routes: m.options.Routes,
		})
		return err
	})
	m.Clusters = slices.DeleteFunc(clusters, func(c *Cluster) bool { return c == nil })
	if err != nil {
		return err
	}
	err = each(m.Clusters, func(_ int, c *Cluster) error {
		if m.options.Envoy {
			if err := c.addServices(); err != nil {
				return err
			}
		}
		return c.Apply(ctx, "{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}")
	})
	if err != nil {
		return err
	}
	primaries := m.Primaries()
	m.istiods = make([]*Process, len(primaries))
	env := m.options.Env
	if m.options.Envoy {
		env = slices.Concat(stockEnvoyEnv(), env)
	}
	return each(primaries, func(i int, c *Cluster) error {
		if err := c.InstallMeshConfig(ctx); err != nil {
			return err
		}
		if m.options.Envoy {
			if err := c.EditMeshConfig(ctx, withoutAutoMTLS); err != nil {
				return err
			}
		}
		for _, remote := range m.Clusters {
			if remote != c {
				if err := c.addRemote(ctx, remote); err != nil {
					return err
				}
			}
		}
		var err error
		m.istiods[i], err = c.startIstiod(ctx, env)
		return err
	})
}

// each calls f for every element at once and joins the errors.
func each[E any](elements []E, f func(int, E) error) error {
	errs := make([]error, len(elements))
	var all sync.WaitGroup
	for i, element := range elements {
		all.Go(func() { errs[i] = f(i, element) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// Cluster returns a cluster by its name, and nil where there is none.
func (m *Mesh) Cluster(name string) *Cluster {
	for _, c := range m.Clusters {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// Primaries returns the clusters that hold Istio's configuration: both, or the first where the control plane is
// shared.
func (m *Mesh) Primaries() []*Cluster {
	if m.options.Shared {
		return m.Clusters[:1]
	}
	return m.Clusters
}

// ControlPlane returns the ids of the clusters whose workloads read the configuration of a primary, as
// controlPlane.clusters of its FenceConfig must name them.
func (m *Mesh) ControlPlane(primary *Cluster) []string {
	if !m.options.Shared {
		return []string{primary.Name}
	}
	var names []string
	for _, c := range m.Clusters {
		names = append(names, c.Name)
	}
	return names
}

// XDS returns host:port where the istiod that serves a cluster's workloads takes xDS streams in plaintext.
func (m *Mesh) XDS(c *Cluster) string {
	if m.options.Shared {
		c = m.Clusters[0]
	}
	return c.istiodAddress(istiodXDS)
}

// address returns a test host of a cluster that it has not returned before.
func (m *Mesh) address(c *Cluster) netip.Addr {
	return c.Host(1<<8 + int(m.hosts.Add(1)))
}

// Logs returns the last lines of every component's log.
func (m *Mesh) Logs(lines int) string {
	var b strings.Builder
	for _, c := range m.Clusters {
		b.WriteString(c.Logs(lines))
	}
	for _, p := range m.istiods {
		if p != nil {
			b.WriteString(p.Log(lines))
		}
	}
	return b.String()
}

// Stop kills everything and returns when it is gone.
func (m *Mesh) Stop() {
	for _, p := range m.istiods {
		if p != nil {
			p.Stop(0)
		}
	}
	for _, c := range m.Clusters {
		c.Stop()
	}
}
