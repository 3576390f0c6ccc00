package object

import (
	"iter"
	"slices"
	"strconv"
	"strings"
)

// Authorities yields the hosts that http routes have requests ask for further on, with their paths: those of redirects,
// of rewrites and of the headers that say it (isAuthorityHeader in Istio's pilot/pkg/networking/core/route).
func (v *VirtualService) Authorities() iter.Seq2[Path, string] {
	return func(yield func(Path, string) bool) {
		for i, route := range v.HTTP {
			at := func(steps ...string) Path { return append(Path{"spec", "http", strconv.Itoa(i)}, steps...) }
			if r := route.Redirect; r != nil && r.Authority != "" && !yield(at("redirect", "authority"), r.Authority) {
				return
			}
			if r := route.Rewrite; r != nil && r.Authority != "" && !yield(at("rewrite", "authority"), r.Authority) {
				return
			}
			for steps, host := range route.Headers.authorities() {
				if !yield(at(steps...), host) {
					return
				}
			}
			for j, d := range route.Route {
				for steps, host := range d.Headers.authorities() {
					if !yield(append(at("route", strconv.Itoa(j)), steps...), host) {
						return
					}
				}
			}
		}
	}
}

// authorities yields what the changes say of the authority, with its path below what has the changes.
func (h Headers) authorities() iter.Seq2[Path, string] {
	return func(yield func(Path, string) bool) {
		for _, change := range []struct {
			field string
			list  map[string]string
		}{{"set", h.Request.Set}, {"add", h.Request.Add}} {
			var named []string
			for key := range change.list {
				if strings.EqualFold(key, ":authority") || strings.EqualFold(key, "host") {
					named = append(named, key)
				}
			}
			slices.Sort(named)
			for _, key := range named {
				if !yield(Path{"headers", "request", change.field, key}, change.list[key]) {
					return
				}
			}
		}
	}
}
