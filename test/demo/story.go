package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/meshfence/meshfence/test/testbed"
)

// The contexts of kubectl.
const (
	m1c1 = testbed.FirstCluster
	m1c2 = testbed.SecondCluster
)

// Who may answer the calls of a page for reviews.
type expectation map[string][]string

func everybody() expectation {
	return expectation{"/productpage1": {m1c1, m1c2}, "/productpage2": {m1c1, m1c2}}
}
func ownOnly() expectation { return expectation{"/productpage1": {m1c1}, "/productpage2": {m1c2}} }

func before(ctx context.Context, s *script) error {
	s.heading("Bookinfo, without a fence")
	if err := s.both(ctx, "apply", "-f", "bookinfo.yaml"); err != nil {
		return err
	}
	if err := s.kubectl(ctx, m1c1, "apply", "-f", "pages.yaml"); err != nil {
		return err
	}
	return s.pages(ctx, everybody())
}

func service(ctx context.Context, s *script) error {
	s.heading("Fence one Service")
	installed, err := s.mesh.Cluster(m1c1).MeshConfig(ctx)
	if err != nil {
		return err
	}
	if err := s.both(ctx, "annotate", "service", "reviews", "meshfence.io/fence=strict"); err != nil {
		return err
	}
	if err := s.pages(ctx, ownOnly()); err != nil {
		return err
	}
	s.say("What did that is the mesh config of istiod, of which nothing else has changed:")
	if err := s.kubectl(ctx, m1c1, "get", "configmap", "istio", "-n", "istio-system", "-o", "jsonpath={.data.mesh}"); err != nil {
		return err
	}
	if !strings.HasPrefix(s.output, installed) {
		return errors.New("something else has changed")
	}
	return s.has("clusterLocal: true", "reviews.default.svc.cluster.local")
}

func namespace(ctx context.Context, s *script) error {
	s.heading("Fence a namespace, but for productpage, so that the gateway of m1c1 still reaches both pages")
	if err := s.both(ctx, "annotate", "service", "reviews", "meshfence.io/fence-"); err != nil {
		return err
	}
	if err := s.pages(ctx, everybody()); err != nil {
		return err
	}
	if err := s.both(ctx, "annotate", "service", "productpage", "meshfence.io/fence=none"); err != nil {
		return err
	}
	if err := s.both(ctx, "label", "namespace", "default", "meshfence.io/fence=strict"); err != nil {
		return err
	}
	return s.pages(ctx, ownOnly())
}

func everything(ctx context.Context, s *script) error {
	s.heading("Fence everything, but for productpage")
	if err := s.both(ctx, "label", "namespace", "default", "meshfence.io/fence-"); err != nil {
		return err
	}
	if err := s.pages(ctx, everybody()); err != nil {
		return err
	}
	if err := s.configure(ctx, "strict"); err != nil {
		return err
	}
	return s.pages(ctx, ownOnly())
}

func outage(ctx context.Context, s *script) error {
	s.heading("The reviews of m1c1 are down: the calls fail, they do not leave")
	if err := s.bookinfo.Server(m1c1, "reviews").Down(ctx); err != nil {
		return err
	}
	return s.pages(ctx, expectation{"/productpage1": {unavailable}, "/productpage2": {m1c2}})
}

func failover(ctx context.Context, s *script) error {
	s.heading("Prefer: another cluster is better than none")
	if err := s.both(ctx, "annotate", "service", "reviews", "meshfence.io/fence=prefer"); err != nil {
		return err
	}
	if err := s.pages(ctx, expectation{"/productpage1": {m1c2}, "/productpage2": {m1c2}}); err != nil {
		return err
	}
	s.say("The reviews of m1c1 are back:")
	if err := s.bookinfo.Server(m1c1, "reviews").Up(ctx); err != nil {
		return err
	}
	return s.pages(ctx, ownOnly())
}

func leak(ctx context.Context, s *script) error {
	s.heading("A change that would leak is refused")
	if err := s.both(ctx, "annotate", "--overwrite", "service", "reviews", "meshfence.io/fence=strict"); err != nil {
		return err
	}
	err := s.kubectl(ctx, m1c1, "apply", "-f", "reviews-leak.yaml")
	if err == nil {
		return errors.New("the leak was accepted")
	}
	if err := s.has("serviceentry-fenced-host", "reviews.default.svc.cluster.local is strict (service annotation)", "spec.hosts[0]"); err != nil {
		return err
	}
	return s.pages(ctx, ownOnly())
}

func after(ctx context.Context, s *script) error {
	s.heading("The fences removed")
	if err := s.configure(ctx, "none"); err != nil {
		return err
	}
	if err := s.both(ctx, "annotate", "service", "reviews", "productpage", "meshfence.io/fence-"); err != nil {
		return err
	}
	return s.pages(ctx, everybody())
}

// configure applies a FenceConfig with another scope.default in both clusters.
func (s *script) configure(ctx context.Context, fallback string) error {
	for _, c := range s.mesh.Clusters {
		configMap, err := json.Marshal(map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]string{"name": "meshfence", "namespace": "meshfence-system"},
			"data":     map[string]string{"config.yaml": fenceConfig(c.Name, fallback)},
		})
		if err != nil {
			return err
		}
		name := c.Name + "-" + fallback + ".yaml"
		s.written[name] = string(configMap)
		s.say("# %s: scope: {default: %s}", name, fallback)
		if err := s.kubectl(ctx, c.Name, "apply", "-f", name); err != nil {
			return err
		}
	}
	return nil
}
