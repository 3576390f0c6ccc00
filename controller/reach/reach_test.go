package reach_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/client-go/rest"

	"github.com/meshfence/meshfence/controller/reach"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/test/fakecluster"
)

const namespace = "meshfence-system"

// TestWatch: a webhook that does not answer twice is told of once, with why, and again when it does not after it has.
func TestWatch(t *testing.T) {
	t.Parallel()
	both := []string{admit.ProbeAnswer(namespace, admit.MutatePath), admit.ProbeAnswer(namespace, admit.ValidatePath)}
	foreign := admit.ProbeAnswer("another", admit.MutatePath)
	type answer struct {
		warnings []string
		err      error
	}
	const told = "Warning WebhookNotCalled the API server does not call the "
	const see = " meshfence is there as the manifests have it, that the API server trusts its caBundle, and that it reaches the Pods"
	for name, test := range map[string]struct {
		answers []answer // of which the last stays
		explain string
		events  []string
		// mutating and validating are the values of the metric at the end; -1 for no series.
		mutating, validating float64
	}{
		"both are called": {answers: []answer{{both, nil}}, mutating: 1, validating: 1},
		"one is not": {answers: []answer{{both, nil}, {both[1:], nil}}, validating: 1,
			events: []string{told + "mutating webhook, so that nothing is edited: see that MutatingWebhookConfiguration" + see}},
		"neither is": {answers: []answer{{both, nil}, {nil, nil}}, events: []string{
			told + "mutating webhook, so that nothing is edited: see that MutatingWebhookConfiguration" + see,
			told + "validating webhook, so that nothing is refused: see that ValidatingWebhookConfiguration" + see,
		}},
		"it is known why": {answers: []answer{{both[:1], nil}}, explain: "it does not exist", mutating: 1,
			events: []string{told + "validating webhook, so that nothing is refused: ValidatingWebhookConfiguration meshfence: it does not exist"}},
		"another installation is": {answers: []answer{{[]string{foreign, both[1]}, nil}}, validating: 1,
			events: []string{told + "mutating webhook, so that nothing is edited: meshfence in namespace another answers on /mutate"}},
		"once is no matter": {answers: []answer{{both, nil}, {nil, nil}, {both, nil}}, mutating: 1, validating: 1},
		"it comes and goes": {answers: []answer{{both[:1], nil}, {both[:1], nil}, {both, nil}, {both[:1], nil}, {both[:1], nil}, {both, nil}}, mutating: 1, validating: 1,
			events: []string{
				told + "validating webhook, so that nothing is refused: see that ValidatingWebhookConfiguration" + see,
				told + "validating webhook, so that nothing is refused: see that ValidatingWebhookConfiguration" + see,
			}},
		"the API server is away":           {answers: []answer{{nil, errors.New("away")}}, mutating: -1, validating: -1},
		"somebody else refuses the update": {answers: []answer{{both[:1], errors.New("no")}}, mutating: 1, validating: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := fakecluster.New(t, "controlPlane: {clusters: [m1c1]}\nholds: [meshConfig]\n")
				asked := 0
				watch := reach.New(reach.Options{
					Namespace: namespace, Name: "meshfence", Recorder: c.Recorder, Metrics: c.Metrics,
					Ask: func(context.Context) ([]string, error) {
						a := test.answers[min(asked, len(test.answers)-1)]
						asked++
						return a.warnings, a.err
					},
					Explain: func(context.Context, string) string { return test.explain },
				})
				fakecluster.Run(t, watch.Run)
				if len(test.answers) == 2 { // a minute is what may pass until it is told
					time.Sleep(time.Minute)
				} else {
					time.Sleep(10 * time.Minute)
				}
				synctest.Wait()
				var got []string
				for len(c.Recorder.Events) > 0 {
					got = append(got, <-c.Recorder.Events)
				}
				if diff := cmp.Diff(test.events, got); diff != "" {
					t.Errorf("Events (-want +got):\n%s", diff)
				}
				var want strings.Builder
				for _, series := range []struct {
					label string
					value float64
				}{{"mutating", test.mutating}, {"validating", test.validating}} {
					if series.value >= 0 {
						fmt.Fprintf(&want, "meshfence_webhook_called{webhook=%q} %v\n", series.label, series.value)
					}
				}
				if err := testutil.GatherAndCompare(c.Registry, strings.NewReader(described(want.String())), "meshfence_webhook_called"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func described(series string) string {
	if series == "" {
		return ""
	}
	return "# HELP meshfence_webhook_called 1 while the API server calls the webhook, 0 while it does not (the leader's).\n# TYPE meshfence_webhook_called gauge\n" + series
}

// TestAsk: the probe is a dry run, and the warnings of its answer come back.
func TestAsk(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got := fmt.Sprint(r.Method, " ", r.URL, " ", string(body))
		if want := `PATCH /api/v1/namespaces/default/services/kubernetes?dryRun=All {"metadata":{"annotations":{"meshfence.io/probe":"asked"}}}`; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Add("Warning", `299 - "one"`)
		w.Header().Add("Warning", `299 - "another"`)
		_, _ = io.WriteString(w, `{"kind": "Service", "apiVersion": "v1", "metadata": {"name": "kubernetes"}}`)
	}))
	defer server.Close()
	ask, err := reach.NewAsk(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		warnings, err := ask(t.Context())
		if diff := cmp.Diff([]string{"one", "another"}, warnings); diff != "" || err != nil {
			t.Errorf("%v, warnings (-want +got):\n%s", err, diff)
		}
	}
}
