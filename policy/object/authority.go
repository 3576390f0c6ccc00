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
			at := []string{"spec", "http", strconv.Itoa(i)}
			if r := route.Redirect; r != nil && r.Authority != "" && !yield(append(at[:3:3], "redirect", "authority"), r.Authority) {
				return
			}
			if r := route.Rewrite; r != nil && r.Authority != "" && !yield(append(at[:3:3], "rewrite", "authority"), r.Authority) {
				return
			}
			if !route.Headers.authorities(at, yield) {
				return
			}
			for j, d := range route.Route {
				if d.Headers != nil && !d.Headers.authorities(append(at[:3:3], "route", strconv.Itoa(j)), yield) {
					return
				}
			}
		}
	}
}

// authorities yields what the changes say of the authority, and reports whether to go on.
func (h *Headers) authorities(at Path, yield func(Path, string) bool) bool {
	if h == nil || h.Request == nil {
		return true
	}
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
			if !yield(append(slices.Clone(at), "headers", "request", change.field, key), change.list[key]) {
				return false
			}
		}
	}
	return true
}
