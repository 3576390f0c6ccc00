package reach

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
)

// askTimeout bounds one probe: two webhooks that are waited for, and some time for the API server.
const askTimeout = 15 * time.Second

// NewAsk returns what asks an API server by a dry run of an update of its own Service, which every cluster has and the
// backfill may patch. Both webhooks answer it with a warning, and nothing is written.
func NewAsk(config *rest.Config) (func(context.Context) ([]string, error), error) {
	own, heard := rest.CopyConfig(config), &cluster.Warnings{}
	own.UserAgent += "/probe"
	own.WarningHandler, own.WarningHandlerWithContext = nil, heard
	client, err := kubernetes.NewForConfig(own)
	if err != nil {
		return nil, fmt.Errorf("client for the probe: %w", err)
	}
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"asked"}}}`, policy.ProbeAnnotation)
	return func(ctx context.Context) ([]string, error) {
		ctx, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		heard.Take()
		_, err := client.CoreV1().Services(admit.ProbeNamespace).Patch(ctx, admit.ProbeName, types.MergePatchType, patch,
			metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return heard.Take(), err
	}, nil
}
