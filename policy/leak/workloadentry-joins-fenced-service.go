package leak

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// subzoneLabel is the label of the part of a locality that Kubernetes does not know.
const subzoneLabel = "topology.istio.io/subzone"

// groupAnnotation names the WorkloadGroup that istiod made a WorkloadEntry for.
const groupAnnotation = "istio.io/autoRegistrationGroup"

// workloadEntryJoinsFencedService refuses a WorkloadEntry, or a WorkloadGroup that makes them, with the labels
// that a strict Service selects: it counts as local whatever its address, network and locality are [D5, D6, D7, D14],
// unless hold locality keeps it out.
// Which workloads are of this cluster is for a user to say, by an exemption. That of a WorkloadGroup covers
// what istiod makes for it.
func workloadEntryJoinsFencedService() Rule {
	return Rule{
		ID:      "workloadentry-joins-fenced-service",
		Summary: "A WorkloadEntry or WorkloadGroup must not join a strict Service.",
		Why: "A workload with the labels that a Service selects becomes one of its endpoints. istiod gives it the " +
			"id of this cluster, whatever its address, network and locality are. Hold locality keeps out one " +
			"without a locality.",
		Fix: "Change a label that the Service selects. For a workload of this cluster add an exemption to the " +
			"FenceConfig.",
		Rows:      []string{"D5", "D6", "D7", "D14"},
		Kinds:     []string{object.KindWorkloadEntry, object.KindWorkloadGroup},
		Severity:  Deny,
		Otherwise: "the workload receives the host's traffic and passes for one of this cluster, wherever it is",
		Instead:   "change a label that the Service selects; for a workload of this cluster add an exemption to the FenceConfig",
		check: func(o Write, view *policy.View) []breach {
			b, joins := joining(o.Object, view)
			if !joins || keptOut(o.Object, view) || registered(o, b, view) {
				return nil
			}
			return []breach{b}
		},
	}
}

// joining returns the breach of a WorkloadEntry or WorkloadGroup that a strict Service selects.
func joining(o *object.Object, view *policy.View) (breach, bool) {
	workload := workloadOf(o)
	path, overPath := []string{"spec", "labels"}, []string{"metadata", "labels"}
	if o.WorkloadGroup != nil {
		path, overPath = []string{"spec", "template", "labels"}, []string{"spec", "metadata", "labels"}
	}
	own := path
	if _, alone := view.StrictSelecting(o.Metadata.Namespace, workload.Labels); !alone {
		path = overPath
	}
	merged := workloadLabels(o)
	service, strict := view.StrictSelecting(o.Metadata.Namespace, merged)
	must := "not have the labels that a strict Service selects"
	if !strict {
		path = own
		must = "not be chosen by a strict Service, which selects labels that istiod itself gives to workloads"
		for _, all := range augmented(o, view.Config()) {
			if service, strict = view.StrictSelecting(o.Metadata.Namespace, all); strict {
				break
			}
		}
	}
	return breach{
		path:  path,
		value: labels.FormatLabels(merged),
		at:    strings.Join([]string{workload.Address, workload.Network, workload.Locality}, " "),
		host:  service,
		must:  must,
	}, strict
}

// workloadOf returns the workload of a WorkloadEntry, or what those of a WorkloadGroup will look like.
func workloadOf(o *object.Object) *object.WorkloadEntry {
	if o.WorkloadGroup != nil {
		return &o.WorkloadGroup.Template
	}
	return o.WorkloadEntry
}

// workloadLabels merges the labels of a WorkloadEntry or WorkloadGroup as istiod does (ConvertWorkloadEntry in Istio's
// pilot/pkg/serviceregistry/serviceentry/conversion.go and workloadEntryFromGroup in
// pilot/pkg/autoregistration/controller.go).
func workloadLabels(o *object.Object) map[string]string {
	over := o.Metadata.Labels
	if o.WorkloadGroup != nil {
		over = o.WorkloadGroup.Metadata.Labels
	}
	merged := map[string]string{}
	maps.Copy(merged, workloadOf(o).Labels)
	maps.Copy(merged, over)
	return merged
}

// augmented returns the labels of a WorkloadEntry or WorkloadGroup with those that istiod adds before it compares
// selectors, for each cluster whose istiod may do so: cluster, network and locality (AugmentLabels in Istio's
// pilot/pkg/serviceregistry/util/label and convertWorkloadEntryToWorkloadInstance in
// pilot/pkg/serviceregistry/serviceentry/conversion.go).
func augmented(o *object.Object, config *policy.Config) []map[string]string {
	list := make([]map[string]string, len(config.Clusters))
	workload := workloadOf(o)
	for i, cluster := range config.Clusters {
		all := workloadLabels(o)
		add := func(key, value string) {
			if value != "" {
				all[key] = value
			}
		}
		locality := strings.Split(localityOf(workload, all), "/")
		for n, key := range []string{corev1.LabelTopologyRegion, corev1.LabelTopologyZone, subzoneLabel} {
			if n < len(locality) {
				add(key, locality[n])
			}
		}
		if all[NetworkLabel] == "" {
			add(NetworkLabel, cmp.Or(workload.Network, config.Network))
		}
		add(policy.ClusterLabel, cluster)
		list[i] = all
	}
	return list
}

// localityOf returns the locality that istiod gives a workload with such labels (convertWorkloadEntryToWorkloadInstance in
// its pilot/pkg/serviceregistry/serviceentry/conversion.go).
func localityOf(workload *object.WorkloadEntry, labels map[string]string) string {
	label := cmp.Or(labels[localityLabel], labels[shortLocalityLabel])
	return cmp.Or(workload.Locality, strings.ReplaceAll(label, ".", "/"))
}

// keptOut reports whether hold locality keeps a WorkloadEntry out, because it has no locality: a distribute drops the
// endpoints that are in none of its own (applyLocalityWeights in Istio's pilot/pkg/networking/core/loadbalancer). One in a
// locality that is none of this cluster's is taken for a local one by the clients of the cluster whose it is. What a
// WorkloadGroup makes may get one from its proxy, and clients of a Service without a ClusterIP choose by themselves.
func keptOut(o *object.Object, view *policy.View) bool {
	config := view.Config()
	if o.WorkloadEntry == nil || !config.Active().Has(policy.Locality) || localityOf(o.WorkloadEntry, workloadLabels(o)) != "" {
		return false
	}
	return !slices.ContainsFunc(augmented(o, config), func(all map[string]string) bool {
		return view.HeadlessSelecting(o.Metadata.Namespace, all)
	})
}

// selectsWorkload reports whether a Service selects a WorkloadEntry, or those of a WorkloadGroup.
func selectsWorkload(host hostname.Host, o *object.Object, view *policy.View) bool {
	return view.Selects(host, workloadLabels(o)) || slices.ContainsFunc(augmented(o, view.Config()), func(all map[string]string) bool {
		return view.Selects(host, all)
	})
}

// registered reports whether istiod made a WorkloadEntry for a WorkloadGroup that is judged itself, and nobody else
// has changed it since.
func registered(o Write, b breach, view *policy.View) bool {
	group, ok := view.Object(object.Key{
		Kind: object.KindWorkloadGroup, Namespace: o.Metadata.Namespace, Name: o.Metadata.Annotations[groupAnnotation],
	})
	if o.WorkloadEntry == nil || !ok {
		return false
	}
	if same, joins := joining(group, view); !joins || !same.host.Same(b.host) {
		return false
	}
	if o.Writer == "" || strings.HasPrefix(o.Writer, "system:serviceaccount:"+view.Config().IstioNamespace+":istiod") {
		return true
	}
	if o.Before() == nil {
		return false
	}
	before, _ := joining(o.Before(), view)
	return before.at == b.at && before.value == b.value
}
