package search

import (
	"fmt"

	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"

	"github.com/meshfence/meshfence/policy/object"
)

// given is what a server has of Istio's objects of one cluster.
type given struct {
	store model.ConfigStoreController
	has   map[object.Key]has
}

// has is what a server was given of an object.
type has struct {
	text string
	made int
}

func newGiven(store model.ConfigStoreController) *given {
	return &given{store: store, has: map[object.Key]has{}}
}

// set makes the objects those that are given.
func (g *given) set(objects []madeObject) error {
	wanted := map[object.Key]bool{}
	for _, o := range objects {
		wanted[o.Key()] = true
	}
	for k := range g.has {
		if wanted[k] {
			continue
		}
		if err := g.store.Delete(kindOf(k.Kind), k.Name, k.Namespace, nil); err != nil {
			return fmt.Errorf("delete %v: %w", k, err)
		}
		delete(g.has, k)
	}
	for _, o := range objects {
		if err := g.write(o); err != nil {
			return err
		}
	}
	return nil
}

func (g *given) write(o madeObject) error {
	now := has{string(o.raw()), o.made}
	old, exists := g.has[o.Key()]
	if exists && old == now {
		return nil
	}
	c, err := configOf(o.Object, madeAt(o.made))
	if err != nil {
		return err
	}
	if exists && o.Kind() == object.KindWorkloadEntry {
		// A Service of Kubernetes keeps an endpoint of a WorkloadEntry whose labels it selects no more, until istiod
		// starts again.
		if err := g.store.Delete(c.GroupVersionKind, c.Name, c.Namespace, nil); err != nil {
			return fmt.Errorf("delete %v: %w", o.Key(), err)
		}
		exists = false
	}
	write := g.store.Create
	if exists {
		write = g.store.Update
	}
	if _, err := write(c); err != nil {
		return fmt.Errorf("write %v: %w", o.Key(), err)
	}
	g.has[o.Key()] = now
	return nil
}

func kindOf(kind string) config.GroupVersionKind {
	o := Object{"apiVersion": "networking.istio.io/v1", "kind": kind}
	if schema, ok := schemaOf(o); ok {
		return schema.GroupVersionKind()
	}
	return gvk.ServiceEntry
}
