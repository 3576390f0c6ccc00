package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/controller/metric"
	"github.com/meshfence/meshfence/controller/notice"
	"github.com/meshfence/meshfence/webhook"
	"github.com/meshfence/meshfence/webhook/certificate"
)

// described is a registerer that keeps of every metric its labels and its help, by name.
type described map[string]string

// Register describes a collector.
func (d described) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc)
	go func() {
		c.Describe(descs)
		close(descs)
	}()
	pattern := regexp.MustCompile(`^Desc\{fqName: "(.+)", help: "(.*)", unit: "", constLabels: \{(.*)\}, variableLabels: \{(.*)\}\}$`)
	for desc := range descs {
		parts := pattern.FindStringSubmatch(desc.String())
		if parts == nil {
			return fmt.Errorf("a description of another form: %s", desc)
		}
		var labels []string
		for label := range strings.SplitSeq(parts[3]+","+parts[4], ",") {
			if name, _, _ := strings.Cut(label, "="); name != "" {
				labels = append(labels, name)
			}
		}
		d.set(parts[1], labels, parts[2])
	}
	return nil
}

func (d described) set(name string, labels []string, help string) {
	slices.Sort(labels)
	d[name] = strings.Join(labels, ", ") + " | " + help
}

// MustRegister is not called.
func (d described) MustRegister(...prometheus.Collector) { panic("an error can be returned") }

// Unregister is not called.
func (d described) Unregister(prometheus.Collector) bool { panic("all metrics stay") }

// allMetrics describes every metric of meshfence.
func allMetrics(t *testing.T) described {
	t.Helper()
	d := described{}
	if err := d.Register(thisBuild().metric()); err != nil {
		t.Fatal(err)
	}
	if _, err := webhook.NewMetrics(d); err != nil {
		t.Fatal(err)
	}
	state, err := cluster.NewMetrics(d)
	if err != nil {
		t.Fatal(err)
	}
	if err := state.RegisterServices(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := cluster.NewWatches(d); err != nil {
		t.Fatal(err)
	}
	if err := (&certificate.Serving{}).Observe(d); err != nil {
		t.Fatal(err)
	}
	if _, err := metric.New(d); err != nil {
		t.Fatal(err)
	}
	if _, err := notice.New(fake.NewClientset().EventsV1(), d, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestReferenceOfMetrics: the page lists every metric that is registered, with its labels and what it says, and no other.
func TestReferenceOfMetrics(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := described{}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(line, "| \n"), " | ")
		if name := strings.Trim(cells[0], "`"); strings.HasPrefix(name, "meshfence_") {
			listed.set(name, strings.Split(strings.TrimSpace(cells[2]), ", "), cells[3])
		}
	}
	if diff := cmp.Diff(allMetrics(t), listed); diff != "" {
		t.Errorf("metrics (-registered +listed):\n%s", diff)
	}
}

// TestDropNoise: of what Go says of itself only its debug settings go.
func TestDropNoise(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(collectors.WithGoCollectorRuntimeMetrics(collectors.MetricsAll)))
	if err := dropNoise(registry); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
		if strings.HasPrefix(f.GetName(), "go_godebug") {
			t.Errorf("%s is still there", f.GetName())
		}
	}
	for _, name := range []string{"go_goroutines", "go_memstats_heap_inuse_bytes", "go_sched_latencies_seconds"} {
		if !names[name] {
			t.Errorf("%s has gone", name)
		}
	}
}

// TestAlertsAndDashboardNameMetrics: what alerts and the dashboard ask for is there.
func TestAlertsAndDashboardNameMetrics(t *testing.T) {
	t.Parallel()
	registered := allMetrics(t)
	name := regexp.MustCompile(`meshfence_[a-z_]+`)
	for _, file := range []string{"rules.yaml", "dashboard.json"} {
		text, err := os.ReadFile("../../manifests/components/monitoring/" + file)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for _, m := range name.FindAllString(strings.ReplaceAll(string(text), "label_meshfence_io_fenced", ""), -1) {
			found++
			if _, ok := registered[strings.TrimSuffix(m, "_bucket")]; !ok {
				t.Errorf("%s: no metric %s", file, m)
			}
		}
		if found < 15 {
			t.Errorf("%s names only %d metrics", file, found)
		}
	}
}
