package object

import (
	"iter"
	"strconv"
)

// Ingress is the part of a networking.k8s.io Ingress that is read.
type Ingress struct {
	ClassName      *string         `json:"ingressClassName"`
	DefaultBackend *IngressBackend `json:"defaultBackend"`
	Rules          []struct {
		HTTP *struct {
			Paths []struct {
				Backend IngressBackend `json:"backend"`
			} `json:"paths"`
		} `json:"http"`
	} `json:"rules"`
}

// IngressBackend is where an Ingress sends requests.
type IngressBackend struct {
	Service *struct {
		Name string `json:"name"`
	} `json:"service"`
}

// Backends yields the names of the Services that an Ingress sends requests to, all of its own Namespace, with
// the paths of the names.
func (i *Ingress) Backends() iter.Seq2[Path, string] {
	return func(yield func(Path, string) bool) {
		if b := i.DefaultBackend; b != nil && b.Service != nil &&
			!yield([]string{"spec", "defaultBackend", "service", "name"}, b.Service.Name) {
			return
		}
		for r, rule := range i.Rules {
			if rule.HTTP == nil {
				continue
			}
			for p, path := range rule.HTTP.Paths {
				at := []string{"spec", "rules", strconv.Itoa(r), "http", "paths", strconv.Itoa(p), "backend", "service", "name"}
				if path.Backend.Service != nil && !yield(at, path.Backend.Service.Name) {
					return
				}
			}
		}
	}
}

// IngressClass is the part of a networking.k8s.io IngressClass that is read.
type IngressClass struct {
	Controller string `json:"controller"`
}
