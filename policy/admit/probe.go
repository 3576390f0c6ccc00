package admit

import (
	"strings"

	kjson "sigs.k8s.io/json"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// The Service that every API server has, outside of the namespaces that the webhook configurations leave out: the leader
// sends it through admission, in a dry run, to find out whether the webhooks are called.
const (
	ProbeNamespace = "default"
	ProbeName      = "kubernetes"
)

// IsProbe reports whether a dry run is the leader's question whether the webhooks are called.
func (s Request) IsProbe() bool {
	if s.Kind != object.KindService || s.Namespace != ProbeNamespace {
		return false
	}
	var service struct {
		Metadata struct {
			Name        string            `json:"name"`
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
	}
	err := kjson.UnmarshalCaseSensitivePreserveInts(s.Raw, &service)
	return err == nil && service.Metadata.Name == ProbeName && service.Metadata.Annotations[policy.ProbeAnnotation] != ""
}

// Uncalled reports whether the text of an error of the API server says that no replica answered a webhook of meshfence, whose
// names all end in its domain.
func Uncalled(text string) bool {
	return strings.Contains(text, "failed calling webhook") && strings.Contains(text, `.meshfence.io"`)
}

// ProbeAnswer is the warning by which a webhook answers the probe: what answers, and on which path.
func ProbeAnswer(installNamespace, path string) string {
	return "meshfence in namespace " + installNamespace + " answers on " + path
}
