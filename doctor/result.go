package doctor

import (
	"fmt"
	"slices"
)

// Outcome is how a check came out.
type Outcome string

const (
	// OK is said of what is as it should be.
	OK Outcome = "ok"
	// Warning is said of what works, and which a user should know of.
	Warning Outcome = "warning"
	// Unknown is said of what could not be examined.
	Unknown Outcome = "unknown"
	// Failed is said of what does not work.
	Failed Outcome = "failed"
)

// Result is one thing that a check says.
type Result struct {
	// Cluster is the name of the cluster, or the names of those that differ.
	Cluster string `json:"cluster"`
	// Check is the id of the check.
	Check   string  `json:"check"`
	Outcome Outcome `json:"outcome"`
	// Seen says what was seen, and Fix what to do about it; empty where nothing is to be done.
	Seen string `json:"seen"`
	Fix  string `json:"fix,omitempty"`
}

// Check is one question about an installation. Its id never changes.
type Check struct {
	ID string
	// Summary says what is right.
	Summary string
	run     func(Observation) []Result
}

// Checks lists every check of a cluster in the order in which a cause comes before what follows from it.
func Checks() []Check {
	return []Check{
		{"fenceconfig", "There is a FenceConfig, it is valid, and it is in force.", checkFenceConfig},
		{"replicas", "Every replica is ready, of one image and behind the Service, and one of them leads.", checkReplicas},
		{"same-config", "Every replica has the same version and the same config in force.", checkSameConfig},
		{"webhooks", "Both webhook configurations are what this version installs.", checkWebhooks},
		{"excluded", "No webhook stops what meshfence and the cluster need to come back.", checkExcluded},
		{"failure-policy", "An outage refuses what could leak under enforcement enforce, and nothing under audit and warn.", checkFailurePolicy},
		{"trusted", "The API server trusts the certificate that is served, for long enough.", checkTrusted},
		{"called", "The API server calls the webhooks, and they answer.", checkCalled},
		{"rights", "The ServiceAccount may do what meshfence does.", checkRights},
		{"other-installations", "No other installation is in the cluster.", checkOthers},
		{"cluster-id", "The FenceConfig names this cluster as istiod does.", checkClusterID},
		{"mesh-configmaps", "The FenceConfig names the mesh ConfigMap of every istiod.", checkMeshConfigMaps},
		{"mesh-config-room", "No mesh ConfigMap is nearly full.", checkMeshConfigRoom},
		{"istio", "Istio is of a release that meshfence is tested with, and has no setting that changes what the rules know.", checkIstio},
		{"holds", "Every hold that the FenceConfig names is true.", checkHolds},
		{"held", "Every strict Service is held.", checkHeld},
		{"findings", "Nothing exists that admission would refuse.", checkFindings},
		{"duplicates", "No fenced host has several DestinationRules or VirtualServices in one namespace.", checkDuplicates},
		{"gitops", "Argo CD sees no difference from Git in what admission adds.", checkGitOps},
		{"endpoints", "Every strict Service has a ready endpoint in this cluster.", checkEndpoints},
	}
}

// Examine runs every check on what was seen of a cluster.
func Examine(o Observation) []Result {
	var results []Result
	for _, c := range Checks() {
		for _, r := range c.run(o) {
			r.Cluster, r.Check = o.Cluster, c.ID
			results = append(results, r)
		}
	}
	return results
}

// Worst returns the worst outcome: what failed is worse than what could not be examined.
func Worst(results []Result) Outcome {
	worst, order := OK, []Outcome{OK, Warning, Unknown, Failed}
	for _, r := range results {
		if slices.Index(order, r.Outcome) > slices.Index(order, worst) {
			worst = r.Outcome
		}
	}
	return worst
}

func ok(format string, args ...any) []Result {
	return []Result{{Outcome: OK, Seen: fmt.Sprintf(format, args...)}}
}

func failed(seen, fix string) Result { return Result{Outcome: Failed, Seen: seen, Fix: fix} }

func warning(seen, fix string) Result { return Result{Outcome: Warning, Seen: seen, Fix: fix} }

// unknown says why a check could not be run.
func unknown(why error) []Result {
	return []Result{{Outcome: Unknown, Seen: "not examined: " + why.Error(), Fix: "run it with the right to do that, or where it can be seen"}}
}

// or returns results, or else that all is well.
func or(results []Result, format string, args ...any) []Result {
	if len(results) == 0 {
		return ok(format, args...)
	}
	return results
}
