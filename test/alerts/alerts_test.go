// Package alerts_test holds the alerts of manifests/components/monitoring against what they are about: each is fired by a
// fault in a world that is otherwise well, and no other with it.
package alerts_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var withPromtool = flag.Bool("promtool", false, "have promtool, which is built first, check and fire the alerts")

const monitoring = "../../manifests/components/monitoring/"

// rule is an alert, or a series that is recorded.
type rule struct {
	Alert       string            `json:"alert,omitempty"`
	Record      string            `json:"record,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// readRules returns the file as promtool reads it, and the rules in it.
func readRules(t *testing.T) (file []byte, rules []rule) {
	t.Helper()
	raw, err := os.ReadFile(monitoring + "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Spec json.RawMessage `json:"spec"`
	}
	var spec struct {
		Groups []struct {
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(object.Spec, &spec); err != nil {
		t.Fatal(err)
	}
	for _, group := range spec.Groups {
		rules = append(rules, group.Rules...)
	}
	return object.Spec, rules
}

// well is a world in which nothing is wrong: two replicas of which the first leads, and two Services of which one is
// strict. The series are in promtool's notation, a value each minute for four hours and more.
func well() map[string]string {
	series := map[string]string{
		`leader_election_master_status{name="meshfence",pod="a"}`:                           "1x250",
		`leader_election_master_status{name="meshfence",pod="b"}`:                           "0x250",
		`meshfence_webhook_called{webhook="mutating",pod="a"}`:                              "1x250",
		`meshfence_webhook_called{webhook="validating",pod="a"}`:                            "1x250",
		`meshfence_existing_findings{rule="sidecar-egress-proxy",outcome="warned",pod="a"}`: "3x250",
		`meshfence_strict_services_without_endpoints{pod="a"}`:                              "0x250",
		`meshfence_mesh_config_full_ratio{configmap="istio",pod="a"}`:                       "0.74x250",
		`meshfence_audit_last_pass_timestamp_seconds{pod="a"}`:                              "0+60x250",
		`meshfence_audit_last_pass_timestamp_seconds{pod="b"}`:                              "0x250",
		`meshfence_backfill_last_pass_timestamp_seconds{pod="a"}`:                           "0+60x250",
		`meshfence_backfill_last_pass_timestamp_seconds{pod="b"}`:                           "0x250",
		`istio_requests_total{reporter="source",source_cluster="m1c1",destination_cluster="m1c1",destination_service_namespace="shop",destination_service_name="reviews"}`:                  "0+60x250",
		`istio_requests_total{reporter="source",source_cluster="m1c1",destination_cluster="m1c2",destination_service_namespace="shop",destination_service_name="ratings"}`:                  "0+60x250",
		`istio_tcp_connections_opened_total{reporter="source",source_cluster="m1c1",destination_cluster="unknown",destination_service_namespace="shop",destination_service_name="reviews"}`: "0+60x250",
		`kube_service_labels{namespace="shop",service="reviews",label_meshfence_io_fenced="strict"}`:                                                                                        "1x250",
		`kube_service_labels{namespace="shop",service="ratings",label_meshfence_io_fenced="prefer"}`:                                                                                        "1x250",
	}
	for _, pod := range []string{"a", "b"} {
		maps.Copy(series, map[string]string{
			`up{job="meshfence",pod="` + pod + `"}`:                                                             "1x250",
			`meshfence_build_info{pod="` + pod + `"}`:                                                           "1x250",
			`meshfence_webhook_configuration_state{configuration="mutating",state="ours",pod="` + pod + `"}`:    "1x250",
			`meshfence_webhook_configuration_state{configuration="mutating",state="missing",pod="` + pod + `"}`: "0x250",
			`meshfence_hold_active{hold="subset",pod="` + pod + `"}`:                                            "1x250",
			`meshfence_certificate_expiry_timestamp_seconds{certificate="serving",pod="` + pod + `"}`:           "200000x250",
			`meshfence_certificate_expiry_timestamp_seconds{certificate="ca",pod="` + pod + `"}`:                "2000000x250",
			`meshfence_config_last_reload_success{pod="` + pod + `"}`:                                           "1x250",
			`meshfence_config_info{hash="one",pod="` + pod + `"}`:                                               "1x250",
			`meshfence_watch_last_event_timestamp_seconds{resource="services",pod="` + pod + `"}`:               "0+60x250",
			`meshfence_admission_requests_total{outcome="allowed",pod="` + pod + `"}`:                           "0+60x250",
			`meshfence_admission_duration_seconds_bucket{path="/validate",le="0.8",pod="` + pod + `"}`:          "0+60x250",
			`meshfence_admission_duration_seconds_bucket{path="/validate",le="3.2",pod="` + pod + `"}`:          "0+60x250",
			`meshfence_admission_duration_seconds_bucket{path="/validate",le="+Inf",pod="` + pod + `"}`:         "0+60x250",
			`meshfence_events_total{outcome="sent",pod="` + pod + `"}`:                                          "0+60x250",
		})
	}
	return series
}

// gone is the value of a series that is not there.
const gone = ""

// faults are what fires each alert, in a world that is otherwise well.
func faults() map[string]map[string]string {
	return map[string]map[string]string{
		"MeshfenceDown":                        {`meshfence_build_info{pod="a"}`: gone, `meshfence_build_info{pod="b"}`: gone},
		"MeshfenceReplicaDown":                 {`up{job="meshfence",pod="b"}`: "0x250"},
		"MeshfenceNoLeader":                    {`leader_election_master_status{name="meshfence",pod="a"}`: "0x250"},
		"MeshfenceWebhookNotCalled":            {`meshfence_webhook_called{webhook="mutating",pod="a"}`: "0x250"},
		"MeshfenceWebhookConfigurationNotOurs": {`meshfence_webhook_configuration_state{configuration="mutating",state="missing",pod="a"}`: "1x250"},
		"MeshfenceHoldNotActive":               {`meshfence_hold_active{hold="subset",pod="b"}`: "0x250"},
		"MeshfenceMeshConfigNearlyFull":        {`meshfence_mesh_config_full_ratio{configmap="istio",pod="a"}`: "0.76x250"},
		"MeshfenceStrictServicesNotHeld":       {`meshfence_strict_services_not_held{reason="companion-missing",pod="a"}`: "1x250"},
		"MeshfenceTrafficLeaves": {
			`istio_requests_total{reporter="source",source_cluster="m1c1",destination_cluster="m1c2",destination_service_namespace="shop",destination_service_name="reviews"}`: "0+1x250",
		},
		"MeshfenceExistingLeaks":                  {`meshfence_existing_findings{rule="serviceentry-service-ip",outcome="denied",pod="a"}`: "1x250"},
		"MeshfenceStrictServicesWithoutEndpoints": {`meshfence_strict_services_without_endpoints{pod="a"}`: "1x250"},
		"MeshfenceCertificateExpires":             {`meshfence_certificate_expiry_timestamp_seconds{certificate="serving",pod="b"}`: "90000x250"},
		"MeshfenceFenceConfigNotInForce":          {`meshfence_config_last_reload_success{pod="b"}`: "0x250"},
		"MeshfenceFenceConfigsDiffer":             {`meshfence_config_info{hash="one",pod="b"}`: gone, `meshfence_config_info{hash="two",pod="b"}`: "1x250"},
		"MeshfenceWatchLost":                      {`meshfence_watch_last_event_timestamp_seconds{resource="services",pod="b"}`: "0x250"},
		"MeshfenceAuditStalled":                   {`meshfence_audit_last_pass_timestamp_seconds{pod="a"}`: "0x250"},
		"MeshfenceBackfillStalled":                {`meshfence_backfill_last_pass_timestamp_seconds{pod="a"}`: "0x250"},
		"MeshfenceRequestsShed":                   {`meshfence_admission_requests_total{outcome="shed",pod="b"}`: "0+1x250"},
		"MeshfenceRequestsFail":                   {`meshfence_admission_requests_total{outcome="error",pod="b"}`: "0+1x250"},
		"MeshfenceRequestsSlow": {
			`meshfence_admission_duration_seconds_bucket{path="/validate",le="0.8",pod="a"}`: "0+50x250",
		},
		"MeshfenceContested":     {`meshfence_contested_objects_total{kind="ConfigMap",pod="a"}`: "0+1x250"},
		"MeshfenceEventsDropped": {`meshfence_events_total{outcome="dropped",pod="a"}`: "0+1x250"},
	}
}

// TestAlerts: each alert has a fault that fires it, and a runbook.
func TestAlerts(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rules := readRules(t)
	fired := faults()
	for _, r := range rules {
		if r.Alert == "" {
			continue
		}
		if fired[r.Alert] == nil {
			t.Errorf("no fault fires %s", r.Alert)
		}
		delete(fired, r.Alert)
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s: a severity, a summary and a description must be set", r.Alert)
		}
		const book = "https://github.com/meshfence/meshfence/blob/main/docs/operations.md#"
		if want := book + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %s, want %s", r.Alert, r.Annotations["runbook_url"], want)
		}
		if !bytes.Contains(page, []byte("\n### "+r.Alert+"\n")) {
			t.Errorf("%s has no runbook in docs/operations.md", r.Alert)
		}
	}
	if len(fired) > 0 {
		t.Errorf("faults of alerts that do not exist: %v", slices.Sorted(maps.Keys(fired)))
	}
}

// TestPromtool: a world that is well fires nothing, and each fault fires its alert alone.
func TestPromtool(t *testing.T) {
	if !*withPromtool {
		t.Skip("make alerts runs it")
	}
	tool, err := exec.CommandContext(t.Context(), "../../hack/build-tools.sh", "--print", "promtool").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file, _ := readRules(t)
	tests := []map[string]any{promtoolTest("well", well(), nil)}
	for _, alert := range slices.Sorted(maps.Keys(faults())) {
		series := well()
		maps.Copy(series, faults()[alert])
		tests = append(tests, promtoolTest(alert, series, []any{map[string]any{"labels": fmt.Sprintf("{alertname=%q}", alert), "value": 1}}))
	}
	world, err := json.Marshal(map[string]any{"rule_files": []string{"rules.yaml"}, "evaluation_interval": "1m", "tests": tests})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"rules.yaml": file, "tests.yaml": world} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"}, {"test", "rules", "tests.yaml"}} {
		command := exec.CommandContext(t.Context(), strings.TrimSpace(string(tool)), args...)
		command.Dir = dir
		out, err := command.CombinedOutput()
		if err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
		t.Logf("promtool %v\n%s", args, out)
	}
}

// promtoolTest returns a test of promtool: what fires after four hours in a world.
func promtoolTest(name string, series map[string]string, fires []any) map[string]any {
	var input []any
	for _, s := range slices.Sorted(maps.Keys(series)) {
		if series[s] != gone {
			input = append(input, map[string]any{"series": s, "values": series[s]})
		}
	}
	return map[string]any{
		"name": name, "interval": "1m", "input_series": input,
		"promql_expr_test": []any{map[string]any{
			"expr": `count by (alertname) (ALERTS{alertstate="firing"})`, "eval_time": "4h", "exp_samples": fires,
		}},
	}
}
