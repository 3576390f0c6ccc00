package doctor

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy"
)

// Seen is something that was looked for. Err says why it could not be seen.
type Seen[T any] struct {
	Value T
	Err   error
}

// Observation is all that was seen of one cluster.
type Observation struct {
	// Cluster is the context of the kubeconfig, Namespace the one of the installation, and Now when it was looked at.
	Cluster, Namespace string
	Now                time.Time

	Config   Seen[Config]
	Replicas Seen[Replicas]
	Metrics  []Metrics
	// Webhooks are both configurations; one that does not exist is nil.
	Webhooks Seen[Webhooks]
	// Wanted is what this version installs.
	Wanted Wanted
	CA     Seen[[]byte]
	Probes []Probe
	Rights Seen[[]Right]
	Others Seen[[]Other]
	Mesh   Seen[install.Mesh]
	Fences Seen[Fences]
	// MeshConfigs are the mesh ConfigMaps by their names.
	MeshConfigs Seen[map[string]MeshConfig]
	GitOps      Seen[GitOps]
}

// MeshConfig is what is looked for in a mesh ConfigMap.
type MeshConfig struct {
	// Selects reports whether it has discoverySelectors.
	Selects bool
	// Full is how much of what it may hold is taken with the entries of hold meshConfig, of 1; zero without that hold, or if
	// they cannot be put in, which is said of the hold.
	Full float64
}

// Config is what is known of the FenceConfig.
type Config struct {
	// Current is the one in the ConfigMap; nil where there is none, or where it is not valid, and Problem says which.
	Current *policy.Config
	Problem error
	// InForce is the one that a replica would start with: the last good one where there is no other.
	InForce *policy.Config
	// Kept reports whether the leader has kept the current one as the last good one.
	Kept bool
}

// Replicas are what runs.
type Replicas struct {
	Deployment *appsv1.Deployment // nil where there is none
	Pods       []corev1.Pod
	Service    *corev1.Service       // nil where there is none
	Lease      *coordinationv1.Lease // nil where nobody has ever led
}

// Metrics are some of those that a replica serves.
type Metrics struct {
	Pod string
	Err error
	// Values are by series, with their labels.
	Values map[string]string
	// Served is when the certificate that the replica serves ends; zero where it does not say.
	Served time.Time
}

// Webhooks are the webhook configurations of an installation.
type Webhooks struct {
	Mutating, Validating *unstructured.Unstructured
}

// Wanted is what this version installs.
type Wanted struct {
	Webhooks
	Rights []Right
}

// Right is something that the ServiceAccount needs to be allowed.
type Right struct {
	Verb, Group, Resource, Namespace, Name string
	// Denied reports whether it is not.
	Denied bool
}

// Other is a sign of another installation.
type Other struct {
	// Object is what was found, and Service what it calls where it does.
	Object, Service string
}

// Reply is what became of a probe.
type Reply string

const (
	// Answered is said of a probe that the webhook has answered for, as is seen in the answer.
	Answered Reply = "answered"
	// Silent is said of one that passed, and that nothing in the answer says the webhook has seen.
	Silent Reply = "silent"
	// Unreachable is said of one that was refused because the webhook could not be called.
	Unreachable Reply = "unreachable"
	// Foreign is said of one that something else refused.
	Foreign Reply = "foreign"
)

// Probe is a dry run that the webhook must see.
type Probe struct {
	// Entry is the webhook that it is for.
	Entry string
	Reply Reply
	// Text is what the API server said.
	Text string
	// Audited reports whether what is found in it is only audited.
	Audited bool
}

// Fences are the Services and what holds them.
type Fences struct {
	Index  *policy.Index
	Report audit.Report
}

// GitOps is what Argo CD makes of what admission adds.
type GitOps struct {
	// Drifted are the objects in which it sees another value than in Git, each with the field.
	Drifted []string
	// Judged reports whether those that it says are Synced are left out.
	Judged bool
}

// isFail reports whether a policy refuses what the webhook does not answer for.
func isFail(failurePolicy string) bool { return failurePolicy != string(admissionv1.Ignore) }
