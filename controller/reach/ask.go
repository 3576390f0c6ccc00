package reach

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
)

// askTimeout bounds one probe: two webhooks that are waited for, and some time for the API server.
const askTimeout = 15 * time.Second

// NewAsk returns what asks an API server by a dry run of an update of its own Service, which every cluster has and the
// backfill may patch. Both webhooks answer it with a warning, and nothing is written.
func NewAsk(config *rest.Config) (func(context.Context) ([]string, error), error) {
	own, heard := rest.CopyConfig(config), &warnings{}
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
		heard.take()
		_, err := client.CoreV1().Services(admit.ProbeNamespace).Patch(ctx, admit.ProbeName, types.MergePatchType, patch,
			metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return heard.take(), err
	}, nil
}

// warnings collects those that come with answers.
type warnings struct {
	mu   sync.Mutex
	list []string
}

// HandleWarningHeaderWithContext takes a warning.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, text)
}

func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.list
	w.list = nil
	return list
}
