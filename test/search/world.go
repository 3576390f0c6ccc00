package search

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
)

// The clusters of a world. Users write in the first one.
const (
	near = "m1c1"
	far  = "m1c2"
)

// other returns the other one of the two.
func other(cluster string) string {
	if cluster == near {
		return far
	}
	return near
}

const (
	rootNamespace = "istio-system"
	domain        = "cluster.local"
)

// Base is what is in a world before a user writes anything.
type Base struct {
	// Holds are those of the FenceConfig.
	Holds policy.Holds
	// Default is the fence of what asks for none.
	Default policy.Fence
	// Namespaces are those that users have, in the order in which addresses were given out.
	Namespaces []string
	// Services are those of both clusters.
	Services []Service
}

// Service is one Service, which exists in both clusters and has a Pod of its own in each.
type Service struct {
	Namespace, Name string
	// Fence is what its annotation asks for; empty for none.
	Fence string
	// Headless reports whether it has no address of its own.
	Headless bool
	Ports    []Port
}

// Port is a port of a Service. Its Pods listen on the same number.
type Port struct {
	Name   string
	Number int
}

// FQDN returns the host of the Service.
func (s Service) FQDN() string { return s.Name + "." + s.Namespace + ".svc." + domain }

// Step is one request of a user.
type Step struct {
	// Object is what is written: it is created, or takes the place of what has its name.
	Object Object `json:"object"`
	// Status reports whether the request is for the subresource, which changes the status alone.
	Status bool `json:"status,omitempty"`
	// Delete reports whether the object is deleted.
	Delete bool `json:"delete,omitempty"`
}

// World is a base and what users ask for in it, in order.
type World struct {
	Base  Base
	Steps []Step
}

// clone returns a copy whose steps can be changed.
func (w World) clone() World {
	w.Base.Services = slices.Clone(w.Base.Services)
	w.Steps = slices.Clone(w.Steps)
	for i := range w.Steps {
		w.Steps[i].Object = w.Steps[i].Object.clone()
	}
	return w
}

// FenceConfig returns the config of the near cluster.
func (b Base) FenceConfig() string { return b.configOf(near) }

// configOf returns the config of a cluster. Both have the same fences.
func (b Base) configOf(cluster string) string {
	locality := ""
	if b.Holds.Has(policy.Locality) {
		locality = fmt.Sprintf("localities: {%s: [%s/*]}\n", cluster, region(cluster))
	}
	return fmt.Sprintf("apiVersion: config.meshfence.io/v1alpha1\nkind: FenceConfig\ncontrolPlane: {clusters: [%s]}\nholds: [%s]\n%sscope: {default: %s}\n",
		cluster, b.Holds, locality, b.Default)
}

func region(cluster string) string { return "region-" + cluster }

// String describes a base in a line.
func (b Base) String() string {
	parts := make([]string, len(b.Services))
	for i, s := range b.Services {
		ports := make([]string, len(s.Ports))
		for j, p := range s.Ports {
			ports[j] = fmt.Sprintf("%s:%d", p.Name, p.Number)
		}
		fence := s.Fence
		if fence == "" {
			fence = b.Default.String() + " by default"
		}
		if s.Headless {
			fence += ", headless"
		}
		parts[i] = fmt.Sprintf("%s/%s (%s; %s)", s.Namespace, s.Name, fence, strings.Join(ports, " "))
	}
	return fmt.Sprintf("holds: %s; default: %s; %s", b.Holds, b.Default, strings.Join(parts, ", "))
}

// YAML prints the steps of a world as objects, and what is not a plain write as a comment before the object.
func (w World) YAML() string {
	var b strings.Builder
	for i, s := range w.Steps {
		if i > 0 {
			b.WriteString("---\n")
		}
		if s.Status {
			b.WriteString("# to the subresource status\n")
		}
		if s.Delete {
			b.WriteString("# deleted\n")
		}
		data, err := yaml.Marshal(map[string]any(s.Object))
		if err != nil {
			data = fmt.Appendf(nil, "# %v\n", err)
		}
		b.Write(data)
	}
	return b.String()
}
