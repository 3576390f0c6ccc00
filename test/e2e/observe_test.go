package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/meshfence/meshfence/test/testbed"
)

// scrape returns what a replica serves at /metrics.
func (s *suite) scrape(t *testing.T, replica int) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.meshfence.MetricsURL(replica), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return body.Bytes()
}

// Every replica says when its certificates end, which FenceConfig is in force and when it last heard from the API server; the
// reference lists all that it says, which keeps the conventions of Prometheus.
func TestMetrics(t *testing.T) {
	s := shared(t)
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	var configs []string
	for i := range s.meshfence.Replicas() {
		body := s.scrape(t, i)
		problems, err := promlint.New(bytes.NewReader(body)).Lint()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if strings.HasPrefix(p.Metric, "meshfence_") {
				t.Errorf("replica %d: %s: %s", i, p.Metric, p.Text)
			}
		}
		for line := range strings.Lines(string(body)) {
			name, isType := strings.CutPrefix(line, "# TYPE ")
			name, _, _ = strings.Cut(name, " ")
			if isType && strings.HasPrefix(name, "meshfence_") && !bytes.Contains(page, []byte("| `"+name+"` |")) {
				t.Errorf("replica %d: the reference lacks %s", i, name)
			}
			if strings.HasPrefix(line, "go_godebug") {
				t.Errorf("replica %d: noise: %s", i, line)
			}
			if strings.HasPrefix(line, "meshfence_config_info{") {
				configs = append(configs, strings.TrimSpace(line))
			}
		}
		for series, within := range map[string][2]time.Duration{
			`meshfence_certificate_expiry_timestamp_seconds{certificate="serving"}`:                        {24 * time.Hour, 8 * 24 * time.Hour},
			`meshfence_certificate_expiry_timestamp_seconds{certificate="ca"}`:                             {100 * 24 * time.Hour, 366 * 24 * time.Hour},
			"meshfence_config_last_reload_success_timestamp_seconds":                                       {-time.Hour, time.Second},
			`meshfence_watch_last_event_timestamp_seconds{resource="services"}`:                            {-2 * time.Minute, time.Second},
			`meshfence_watch_last_event_timestamp_seconds{resource="virtualservices.networking.istio.io"}`: {-2 * time.Minute, time.Second},
		} {
			ahead := time.Duration(s.metric(t, i, series)-float64(time.Now().Unix())) * time.Second
			if ahead < within[0] || ahead > within[1] {
				t.Errorf("replica %d: %s is %v from now, want between %v and %v", i, series, ahead, within[0], within[1])
			}
		}
		for _, configuration := range []string{"mutating", "validating"} {
			if state := s.metric(t, i, fmt.Sprintf(`meshfence_webhook_configuration_state{configuration=%q,state="ours"}`, configuration)); state != 1 {
				t.Errorf("replica %d: the %s configuration is not found to be ours", i, configuration)
			}
		}
	}
	if len(configs) != s.meshfence.Replicas() || configs[0] != configs[1] {
		t.Errorf("one FenceConfig for all, but %q", configs)
	}
	for _, pass := range []string{"meshfence_audit_last_pass_timestamp_seconds", "meshfence_backfill_last_pass_timestamp_seconds"} {
		eventually(t, pass, func(context.Context) error {
			if age := float64(time.Now().Unix()) - s.leading(t, pass); age > 3600 {
				return fmt.Errorf("%v seconds ago", age)
			}
			return nil
		})
	}
}

// What starts while all is well says so in JSON, and that nothing went wrong; garbage on the port of the webhooks is a line.
func TestLogOfAStart(t *testing.T) {
	s := shared(t)
	before, err := s.meshfence.LogLines(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.meshfence.StopReplica(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	stopped, err := s.meshfence.LogLines(0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.meshfence.StartReplica(context.WithoutCancel(t.Context()), 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the API server calls it", s.meshfence.WaitServing)
	for range 50 {
		knock(t, s.meshfence.WebhookAddress(0))
	}
	time.Sleep(time.Second) // what comes late
	lines, err := s.meshfence.LogLines(0)
	if err != nil {
		t.Fatal(err)
	}
	garbage := 0
	for i, line := range lines[len(before):] {
		var said struct{ Level, Msg, Checks string }
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Errorf("no JSON: %s", line)
		}
		if said.Level == "ERROR" && i >= len(stopped)-len(before) {
			t.Errorf("nothing has gone wrong: %s", line)
		}
		if strings.Contains(said.Msg, "TLS handshake error") {
			garbage++
		}
	}
	if garbage != 1 {
		t.Errorf("%d lines about garbage, want 1", garbage)
	}
}

// knock sends what is no TLS.
func knock(t *testing.T, address string) {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte("GET / HTTP/1.0\r\n\r\n")); err != nil {
		t.Error(err)
	}
	_, _ = connection.Read(make([]byte, 1024)) // whatever it answers
}

// A webhook configuration that is deleted, and one that leads nowhere, are an Event, a metric and a line of the log within a
// minute, and no more than that once they are back.
func TestWebhookNotCalled(t *testing.T) {
	s := shared(t)
	for name, test := range map[string]struct {
		hook, spoil, state, why string
	}{
		"deleted": {hook: "mutating", state: "missing", why: "MutatingWebhookConfiguration meshfence: it does not exist"},
		"leads nowhere": {hook: "validating", state: "ours", why: "see that ValidatingWebhookConfiguration meshfence is there",
			spoil: `[{"op": "replace", "path": "/webhooks/%d/clientConfig/service/port", "value": 1}]`},
	} {
		t.Run(name, func(t *testing.T) {
			called := fmt.Sprintf("meshfence_webhook_called{webhook=%q}", test.hook)
			isCalled := func(want float64) func(context.Context) error {
				return func(context.Context) error {
					if got := s.leading(t, called); got != want {
						return fmt.Errorf("%s is %v", called, got)
					}
					return nil
				}
			}
			eventually(t, "it is called", isCalled(1))
			events := s.count(t, test.why)
			resource := test.hook + "webhookconfiguration"
			before := s.get(t, resource, "meshfence")
			for _, field := range []string{"resourceVersion", "uid"} {
				delete(before["metadata"].(map[string]any), field)
			}
			restore, err := json.Marshal(before)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if _, _, err := s.Kubectl(context.Background(), string(restore), "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
					t.Error(err)
				}
			})
			if test.spoil == "" {
				s.kubectl(t, "", "delete", resource, "meshfence")
			} else {
				s.kubectl(t, "", "patch", resource, "meshfence", "--type=json", "-p", fmt.Sprintf(test.spoil, s.index(before, "services.validate.meshfence.io")))
			}
			start := time.Now()
			if err := testbed.Eventually(t.Context(), time.Minute, isCalled(0)); err != nil {
				t.Fatal(err)
			}
			t.Logf("told after %v", time.Since(start).Round(time.Second))
			eventually(t, "an Event and a line of the log say why", func(context.Context) error {
				if got := s.count(t, test.why); got != events+1 {
					return fmt.Errorf("%d Events, want %d", got, events+1)
				}
				if !strings.Contains(s.meshfence.Logs(1000), test.why) {
					return fmt.Errorf("the log does not say %q", test.why)
				}
				return nil
			})
			for i := range s.meshfence.Replicas() {
				if got := s.metric(t, i, fmt.Sprintf("meshfence_webhook_configuration_state{configuration=%q,state=%q}", test.hook, test.state)); got != 1 {
					t.Errorf("replica %d does not see that the configuration is %s", i, test.state)
				}
			}
			s.kubectl(t, string(restore), "apply", "--server-side", "--force-conflicts", "-f", "-")
			eventually(t, "it is called again", isCalled(1))
		})
	}
}

// index is the place of a webhook in its configuration.
func (s *suite) index(configuration map[string]any, name string) int {
	for i, hook := range configuration["webhooks"].([]any) {
		if hook.(map[string]any)["name"] == name {
			return i
		}
	}
	return -1
}

// count counts the Events that say something.
func (s *suite) count(t *testing.T, what string) int {
	t.Helper()
	return strings.Count(s.kubectl(t, "", "get", "events", "-A", "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`), what)
}
