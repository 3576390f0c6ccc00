package doctor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"
)

func checkFenceConfig(o Observation) []Result {
	switch c := o.Config.Value; {
	case o.Config.Err != nil:
		return unknown(o.Config.Err)
	case c.Problem != nil && c.InForce == nil:
		return []Result{failed(c.Problem.Error()+"; none is in force", "create a FenceConfig: meshfence install prints one for this mesh")}
	case apierrors.IsNotFound(c.Problem):
		return []Result{failed(c.Problem.Error()+"; the last good one is in force", "meshfence install --apply puts that back")}
	case c.Problem != nil:
		return []Result{failed(c.Problem.Error()+"; the last good one is in force", "correct the FenceConfig")}
	case !c.Kept:
		return []Result{warning("the ConfigMap is valid, but the leader has not kept it as the last good one: it may not be in force",
			"wait some seconds; if it stays so, see whether a replica leads")}
	}
	c := o.Config.Value.Current
	return ok("clusters %s, holds %s, enforcement %s", strings.Join(c.Clusters, ", "), c.Holds, c.Enforcement)
}

// leaseGrace is how long after its last renewal a lease may be and still be held: leases last fifteen seconds.
const leaseGrace = 30 * time.Second

func checkReplicas(o Observation) []Result {
	if o.Replicas.Err != nil {
		return unknown(o.Replicas.Err)
	}
	r := o.Replicas.Value
	if r.Deployment == nil {
		return []Result{failed("there is no Deployment meshfence in namespace "+o.Namespace, "meshfence install --apply, or name its namespace with --install-namespace")}
	}
	want := ptr.Deref(r.Deployment.Spec.Replicas, 1)
	var ready []string
	images := map[string]bool{}
	for _, p := range r.Pods {
		for _, c := range p.Spec.Containers {
			images[c.Image] = true
		}
		if isReady(p) {
			ready = append(ready, p.Name)
		}
	}
	logs := fmt.Sprintf("kubectl describe pods -n %[1]s; kubectl logs -n %[1]s deployment/meshfence", o.Namespace)
	var results []Result
	switch {
	case want == 0:
		results = append(results, failed("the Deployment has no replicas", fmt.Sprintf("kubectl scale -n %s deployment/meshfence --replicas=2", o.Namespace)))
	case len(ready) == 0:
		results = append(results, failed(fmt.Sprintf("none of %d replicas is ready", want), logs))
	case len(ready) < int(want):
		results = append(results, warning(fmt.Sprintf("%d of %d replicas are ready", len(ready), want), logs))
	}
	if r.Service == nil {
		results = append(results, failed("there is no Service meshfence: the API server makes no new connection to a replica", applyAgain))
	}
	if len(images) > 1 {
		results = append(results, warning("the replicas have several images: "+strings.Join(slices.Sorted(maps.Keys(images)), ", "),
			fmt.Sprintf("let the rollout end: kubectl rollout status -n %s deployment/meshfence", o.Namespace)))
	}
	if len(ready) > 0 {
		results = append(results, checkLeader(o, logs)...)
	}
	return or(results, "%d of %d replicas are ready, of image %s", len(ready), want, strings.Join(slices.Sorted(maps.Keys(images)), ", "))
}

// checkLeader judges the lease, whose holder is named after its Pod.
func checkLeader(o Observation, logs string) []Result {
	lease := o.Replicas.Value.Lease
	if lease == nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" || lease.Spec.RenewTime == nil {
		return []Result{failed("no replica leads: nothing is written, and nothing old is brought in line", logs)}
	}
	if age := o.Now.Sub(lease.Spec.RenewTime.Time); age > leaseGrace {
		return []Result{failed(fmt.Sprintf("no replica leads: %s has not renewed the lease for %s", *lease.Spec.HolderIdentity, age.Round(time.Second)), logs)}
	}
	return nil
}

func isReady(p corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

func checkSameConfig(o Observation) []Result {
	if len(o.Metrics) == 0 {
		return unknown(errors.New("no replica is ready to be asked for its metrics"))
	}
	var results []Result
	readable := 0
	values := map[string]map[string][]string{} // Pods by series and value
	for _, m := range o.Metrics {
		if m.Values[seriesReload] != "" {
			readable++
		}
		results = append(results, o.checkReplica(m)...)
		for series, value := range m.Values {
			if values[series] == nil {
				values[series] = map[string][]string{}
			}
			values[series][value] = append(values[series][value], m.Pod)
		}
	}
	for _, series := range slices.Sorted(maps.Keys(values)) {
		pods, told := values[series], 0
		for _, p := range pods {
			told += len(p)
		}
		if len(pods) > 1 || told < readable {
			results = append(results, failed(fmt.Sprintf("the replicas differ in %s: %s", series, spread(pods)),
				"wait some seconds; if it stays so, delete the Pod that is behind"))
		}
	}
	return or(results, "%d replicas agree", len(o.Metrics))
}

// checkReplica compares the FenceConfig that a replica has in force with the one that counts.
func (o Observation) checkReplica(m Metrics) []Result {
	logs := fmt.Sprintf("kubectl logs -n %s %s says why", o.Namespace, m.Pod)
	config := o.Config.Value.InForce
	switch {
	case m.Err != nil:
		return unknown(fmt.Errorf("read the metrics of Pod %s: %w", m.Pod, m.Err))
	case m.Values[seriesReload] == "":
		return unknown(fmt.Errorf("what Pod %s serves as metrics is not what meshfence does", m.Pod))
	case m.Values[seriesReload] == "0":
		return []Result{failed("Pod "+m.Pod+" could not read the FenceConfig as it is now, and has the last good one in force", "see fenceconfig; "+logs)}
	case config != nil && m.Values[seriesConfig] != fmt.Sprintf("{hash=%q}", config.Hash()):
		return []Result{failed("Pod "+m.Pod+" has another FenceConfig in force than the one in the cluster", "wait some seconds; if it stays so, "+logs)}
	}
	return nil
}

// spread says which Pods have which value.
func spread(pods map[string][]string) string {
	var parts []string
	for _, value := range slices.Sorted(maps.Keys(pods)) {
		parts = append(parts, fmt.Sprintf("%s in %s", value, strings.Join(pods[value], ", ")))
	}
	return strings.Join(parts, "; ")
}
