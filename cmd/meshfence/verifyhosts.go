package main

import (
	"context"
	"io"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/xds"
)

// fencedHosts returns the hosts to verify, and the cluster domain where a FenceConfig names it.
func (f *verifyFlags) fencedHosts(ctx context.Context, in io.Reader) (hosts []xds.Host, domain string, err error) {
	if len(f.hosts) > 0 {
		for _, host := range f.hosts {
			hosts = append(hosts, xds.Host{FQDN: host, Fence: policy.Strict})
		}
		return hosts, "", nil
	}
	if len(f.scene.paths) > 0 {
		return f.ofManifests(in)
	}
	auditor, _, err := f.cluster.scope(ctx)
	if err != nil {
		return nil, "", err
	}
	services, err := auditor.Fenced(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, s := range services {
		fence, _ := policy.ParseFence(s.Fence)
		hosts = append(hosts, xds.Host{FQDN: s.Host, Fence: fence})
	}
	return hosts, auditor.Index.Config().ClusterDomain, nil
}

// ofManifests returns the fenced hosts among manifests, and their cluster domain.
func (f *verifyFlags) ofManifests(in io.Reader) (hosts []xds.Host, domain string, err error) {
	f.scene.namespace = "default" // of the objects that name none
	f.scene.config = f.cluster.config
	scene, err := f.scene.load(in)
	if err != nil {
		return nil, "", err
	}
	domain = scene.index.Config().ClusterDomain
	view := scene.index.View()
	for _, m := range scene.manifests {
		if gk := m.groupKind(); gk.Group != "" || gk.Kind != policy.KindService {
			continue
		}
		service := policy.Host{Namespace: m.Namespace, Name: m.Name}
		if fence := view.Service(service, m.Annotations).Fence; fence != policy.None {
			hosts = append(hosts, xds.Host{FQDN: service.FQDN(domain), Fence: fence})
		}
	}
	slices.SortFunc(hosts, func(a, b xds.Host) int { return strings.Compare(a.FQDN, b.FQDN) })
	return slices.CompactFunc(hosts, func(a, b xds.Host) bool { return a.FQDN == b.FQDN }), domain, nil
}
