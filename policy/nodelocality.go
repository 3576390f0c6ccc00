package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// subzoneLabel is the label of the part of a locality that Kubernetes does not know.
const subzoneLabel = "topology.istio.io/subzone"

// NodeLocality is where a Node is. A part that no label names is empty.
type NodeLocality struct{ Region, Zone, Subzone string }

// NodeLocalityOf reads the labels of a Node as Istio does (getPodLocality in its
// pilot/pkg/serviceregistry/kube/controller).
func NodeLocalityOf(labels map[string]string) NodeLocality {
	return NodeLocality{
		Region:  cmp.Or(labels[corev1.LabelTopologyRegion], labels[corev1.LabelFailureDomainBetaRegion]),
		Zone:    cmp.Or(labels[corev1.LabelTopologyZone], labels[corev1.LabelFailureDomainBetaZone]),
		Subzone: labels[subzoneLabel],
	}
}

// NodeLocalityLabels lists the labels that NodeLocalityOf reads.
func NodeLocalityLabels() []string {
	return []string{
		corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaZone, subzoneLabel,
	}
}

// forms lists the localities of a distribute that cover the Node, the widest first. Istio takes an empty part
// for a wildcard, so that the last form is no narrower than the labels are (LocalityMatch in its
// pilot/pkg/networking/util).
func (l NodeLocality) forms() []string {
	list := []string{l.Region + "/*"}
	if l.Zone != "" {
		list = append(list, l.Region+"/"+l.Zone+"/*")
		if l.Subzone != "" {
			list = append(list, l.Region+"/"+l.Zone+"/"+l.Subzone)
		}
	}
	return list
}

func (l NodeLocality) compare(other NodeLocality) int {
	return cmp.Or(strings.Compare(l.Region, other.Region), strings.Compare(l.Zone, other.Zone), strings.Compare(l.Subzone, other.Subzone))
}

// NodeLocalities counts the Nodes of a cluster by their locality.
type NodeLocalities map[NodeLocality]int

// LocalityError says why nobody can tell the localities of the one control plane cluster.
type LocalityError struct {
	// Cluster is its id.
	Cluster string
	// Reason is the rest of a sentence that speaks of the cluster as "it".
	Reason string
}

// Error returns a sentence without its dot.
func (e *LocalityError) Error() string {
	return fmt.Sprintf("the localities of cluster %q are not known: %s", e.Cluster, e.Reason)
}

// NeedsNodes reports whether hold locality takes the localities of the one control plane cluster from its Nodes,
// because the FenceConfig does not list them.
func (c *Config) NeedsNodes() bool {
	if !c.Holds.Has(Locality) || len(c.Clusters) != 1 {
		return false
	}
	_, listed := c.Localities[c.Clusters[0]]
	return !listed
}

// NodeShares turns the Nodes of a cluster that NeedsNodes into shares. Each Node counts for the widest
// wildcard that holds no locality of another cluster, within which Istio spreads calls by endpoints. Where
// that takes several, their shares are those of the Nodes: an approximation of the endpoints' that asks for
// no watch on them. As long as the FenceConfig names no other cluster, nobody can tell what a wildcard holds,
// and each Node counts for its own locality. The error is a *LocalityError.
func (c *Config) NodeShares(nodes NodeLocalities) (Shares, error) {
	unknown := func(format string, args ...any) (Shares, error) {
		return nil, c.unknownLocalities(fmt.Sprintf(format, args...))
	}
	all, lost := 0, 0
	own := map[string]bool{}
	for at, n := range nodes {
		all += n
		if at.Region == "" {
			lost += n
		}
		forms := at.forms()
		own[forms[len(forms)-1]] = true
	}
	switch {
	case all == 0:
		return unknown("it has no Nodes")
	case lost > 0:
		return unknown("%d of its %d Nodes have no label %s", lost, all, corev1.LabelTopologyRegion)
	}
	counts := map[string]int{}
	for _, at := range slices.SortedFunc(maps.Keys(nodes), NodeLocality.compare) {
		forms := at.forms()
		i := slices.IndexFunc(forms, func(form string) bool { return c.mayCover(form, own) })
		if i < 0 {
			narrowest := forms[len(forms)-1]
			theirs, cluster, _ := c.overlap(narrowest)
			return unknown("it has Nodes in %q, which overlaps %q of cluster %s", narrowest, theirs, cluster)
		}
		counts[forms[i]] += nodes[at]
	}
	if len(counts) > maxLocalities {
		return unknown("its Nodes are in %d localities, and traffic can be shared among %d", len(counts), maxLocalities)
	}
	return percentages(counts), nil
}

// mayCover reports whether a locality holds endpoints of this cluster alone: by the FenceConfig, or because it is
// one of the cluster's own where the FenceConfig names no other.
func (c *Config) mayCover(locality string, own map[string]bool) bool {
	if len(c.Localities) == 0 {
		return own[locality]
	}
	_, _, shared := c.overlap(locality)
	return !shared
}

// Shared reports whether one of the localities is another cluster's as well, by the FenceConfig.
func (c *Config) Shared(shares Shares) bool {
	for locality := range shares {
		if _, _, shared := c.overlap(locality); shared {
			return true
		}
	}
	return false
}

// overlap returns the first locality of a cluster that is not a control plane cluster with which this one has
// endpoints in common.
func (c *Config) overlap(locality string) (theirs, cluster string, ok bool) {
	for _, cluster := range slices.Sorted(maps.Keys(c.Localities)) {
		if slices.Contains(c.Clusters, cluster) {
			continue
		}
		for _, theirs := range c.Localities[cluster] {
			if localitiesOverlap(theirs, locality) {
				return theirs, cluster, true
			}
		}
	}
	return "", "", false
}

// WithShares returns the config with the shares that the Nodes gave.
func (c *Config) WithShares(shares Shares) *Config {
	with := *c
	with.nodeShares, with.nodeError = maps.Clone(shares), nil
	return &with
}

// WithoutShares returns the config without any, so that hold locality holds nothing, for that reason.
func (c *Config) WithoutShares(reason error) *Config {
	without := *c
	without.nodeShares, without.nodeError = nil, reason
	return &without
}

func (c *Config) unknownLocalities(reason string) error {
	return &LocalityError{Cluster: c.Clusters[0], Reason: reason}
}
