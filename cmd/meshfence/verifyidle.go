package main

import (
	"slices"

	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/xds"
)

// noteIdle says of hosts whose fence is prefer, and that are answered elsewhere, which objects keep the fence from doing
// anything: without any, they have failed over.
func (w *world) noteIdle(reports []xds.Report) {
	if w.index == nil {
		return // hosts of flags are strict
	}
	guard := leak.NewGuard(slices.DeleteFunc(leak.Rules(), func(r leak.Rule) bool { return !slices.Contains(idlers(), r.ID) }))
	for i := range reports {
		host, inside := hostname.Parse(reports[i].Host, w.domain)
		if reports[i].Result != xds.Elsewhere || !inside {
			continue
		}
		for _, o := range w.view.Related(host) {
			for _, f := range guard.About(o, reports[i].Host, w.view) {
				note := f.Object.String() + ": " + f.Field() + ": " + f.Message()
				reports[i].Notes = append(reports[i].Notes, note)
			}
		}
	}
}

// idlers are the rules that say what keeps prefer from doing anything.
func idlers() []string { return []string{"destinationrule-prefer-idle", "serviceentry-prefer-host"} }
