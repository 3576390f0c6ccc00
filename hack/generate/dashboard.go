package main

import (
	"bytes"
	"encoding/json"
)

// dashboardFile is Grafana's dashboard, which the component monitoring ships.
const dashboardFile = "manifests/components/monitoring/dashboard.json"

// panel is one of a dashboard, in the words of Grafana's JSON model.
type panel struct {
	ID          int            `json:"id"`
	Type        string         `json:"type"`
	Title       string         `json:"title"`
	Description string         `json:"description,omitempty"`
	GridPos     grid           `json:"gridPos"`
	Datasource  *datasource    `json:"datasource,omitempty"`
	FieldConfig map[string]any `json:"fieldConfig,omitempty"`
	Targets     []target       `json:"targets,omitempty"`
}

type grid struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

type datasource struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type target struct {
	RefID        string `json:"refId"`
	Expr         string `json:"expr"`
	LegendFormat string `json:"legendFormat"`
}

// graph is a panel as it is described here: a title, what it says, a unit of Grafana's, and pairs of a query and a legend.
type graph struct {
	title, says, unit string
	queries           [][2]string
}

// row is a row of graphs under a heading.
type row struct {
	title  string
	graphs []graph
}

// rows are the dashboard.
func rows() []row {
	return []row{
		{"Is it held", []graph{
			{"Holds", "1 while a hold is true on every replica", "short", [][2]string{{"min by (hold) (meshfence_hold_active)", "{{hold}}"}}},
			{"Strict Services that nothing holds", "", "short", [][2]string{{"sum by (reason) (meshfence_strict_services_not_held)", "{{reason}}"}}},
			{"Traffic of strict Services that leaves", "By Istio's metrics of the proxies; it needs the labels of Services from kube-state-metrics", "reqps", [][2]string{
				{"meshfence:strict_cross_cluster_requests:rate5m", "{{destination_service_namespace}}/{{destination_service_name}} to {{destination_cluster}}"},
				{"meshfence:strict_cross_cluster_connections:rate5m", "{{destination_service_namespace}}/{{destination_service_name}} to {{destination_cluster}}, TCP"},
			}},
			{"Services by fence", "", "short", [][2]string{{"max by (fence) (meshfence_services)", "{{fence}}"}}},
			{"Strict Services without a ready endpoint", "Calls to them fail", "short", [][2]string{{"max(meshfence_strict_services_without_endpoints)", "Services"}}},
			{"Findings in existing objects", "", "short", [][2]string{{"sum by (rule, outcome) (meshfence_existing_findings) > 0", "{{rule}} {{outcome}}"}}},
		}},
		{"Admission", []graph{
			{"Does the API server call", "", "short", [][2]string{{"max by (webhook) (meshfence_webhook_called)", "{{webhook}}"}}},
			{"Requests by outcome", "", "reqps", [][2]string{{"sum by (outcome) (rate(meshfence_admission_requests_total[5m]))", "{{outcome}}"}}},
			{"Time to decide", "", "s", [][2]string{
				{"histogram_quantile(0.5, sum by (le, path) (rate(meshfence_admission_duration_seconds_bucket[5m])))", "{{path}} half"},
				{"histogram_quantile(0.99, sum by (le, path) (rate(meshfence_admission_duration_seconds_bucket[5m])))", "{{path}} 99 of 100"},
			}},
			{"Findings by rule", "", "short", [][2]string{{"sum by (rule, outcome) (rate(meshfence_findings_total[5m])) > 0", "{{rule}} {{outcome}}"}}},
			{"Requests in flight", "", "short", [][2]string{{"sum by (pod) (meshfence_admission_requests_in_flight)", "{{pod}}"}}},
			{"Bodies in memory", "", "bytes", [][2]string{{"sum by (pod) (meshfence_admission_held_bytes)", "{{pod}}"}}},
		}},
		{"Controller", []graph{
			{"Mesh ConfigMaps in sync", "", "short", [][2]string{{"max by (configmap) (meshfence_mesh_config_in_sync)", "{{configmap}}"}}},
			{"Mesh ConfigMaps, how full", "", "percentunit", [][2]string{{"max by (configmap) (meshfence_mesh_config_full_ratio)", "{{configmap}}"}}},
			{"Objects of the backfill", "", "short", [][2]string{{"sum by (state) (meshfence_backfill_objects)", "{{state}}"}}},
			{"Companions written", "", "short", [][2]string{{"sum by (kind, action) (increase(meshfence_companion_writes_total[5m]))", "{{kind}} {{action}}"}}},
			{"Since the last pass", "", "s", [][2]string{
				{"time() - max(meshfence_audit_last_pass_timestamp_seconds)", "audit"},
				{"time() - max(meshfence_backfill_last_pass_timestamp_seconds)", "backfill"},
			}},
			{"Others write too", "", "short", [][2]string{
				{"sum by (kind) (increase(meshfence_contested_objects_total[30m]))", "contested {{kind}}"},
				{"max(meshfence_companions_blocked)", "companions without their name"},
				{"max(meshfence_webhook_configurations_yielded)", "webhook configurations left alone"},
			}},
			{"Events", "", "short", [][2]string{{"sum by (outcome) (increase(meshfence_events_total[5m]))", "{{outcome}}"}}},
		}},
		{"Replicas", []graph{
			{"Who leads", "", "short", [][2]string{{`sum by (pod) (leader_election_master_status{name="meshfence"})`, "{{pod}}"}}},
			{"Version and FenceConfig", "", "short", [][2]string{
				{"count by (version) (meshfence_build_info)", "{{version}}"},
				{"count by (hash) (meshfence_config_info)", "FenceConfig {{hash}}"},
				{"min(meshfence_config_last_reload_success)", "the FenceConfig of the cluster is in force"},
			}},
			{"Certificates end in", "", "s", [][2]string{{"min by (certificate) (meshfence_certificate_expiry_timestamp_seconds) - time()", "{{certificate}}"}}},
			{"Since the last word of a watch", "", "s", [][2]string{{"time() - min by (resource) (meshfence_watch_last_event_timestamp_seconds)", "{{resource}}"}}},
			{"Memory", "", "bytes", [][2]string{{`process_resident_memory_bytes{job="meshfence"}`, "{{pod}}"}}},
			{"CPU", "", "short", [][2]string{{`rate(process_cpu_seconds_total{job="meshfence"}[5m])`, "{{pod}}"}}},
		}},
	}
}

// dashboard makes the dashboard: three graphs side by side.
func dashboard() (pages, error) {
	const width, height, wide = 8, 7, 3
	prometheus := &datasource{Type: "prometheus", UID: "${datasource}"}
	var panels []panel
	y := 0
	for _, r := range rows() {
		panels = append(panels, panel{ID: len(panels) + 1, Type: "row", Title: r.title, GridPos: grid{H: 1, W: width * wide, Y: y}})
		y++
		for i, g := range r.graphs {
			p := panel{
				ID: len(panels) + 1, Type: "timeseries", Title: g.title, Description: g.says, Datasource: prometheus,
				GridPos:     grid{H: height, W: width, X: i % wide * width, Y: y + i/wide*height},
				FieldConfig: map[string]any{"defaults": map[string]any{"unit": g.unit, "min": 0}, "overrides": []any{}},
			}
			for at, q := range g.queries {
				p.Targets = append(p.Targets, target{RefID: string(rune('A' + at)), Expr: q[0], LegendFormat: q[1]})
			}
			panels = append(panels, p)
		}
		y += (len(r.graphs) + wide - 1) / wide * height
	}
	model := map[string]any{
		"title": "meshfence", "uid": "meshfence", "tags": []string{"meshfence", "istio"}, "schemaVersion": 39, "refresh": "30s",
		"time":       map[string]string{"from": "now-6h", "to": "now"},
		"templating": map[string]any{"list": []any{map[string]string{"name": "datasource", "type": "datasource", "query": "prometheus"}}},
		"panels":     panels,
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(model)
	return pages{dashboardFile: b.Bytes()}, err
}
