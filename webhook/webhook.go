package webhook

import (
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/meshfence/meshfence/policy/admit"
)

// Setup registers both admission paths on a webhook server.
func Setup(server ctrlwebhook.Server, o Options) error {
	a, err := New(o)
	if err != nil {
		return err
	}
	server.Register(admit.MutatePath, a.Mutator())
	server.Register(admit.ValidatePath, a.Validator())
	return nil
}
