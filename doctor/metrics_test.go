package doctor_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/doctor"
)

// TestReadMetrics: of all that a replica serves only what the checks read is kept.
func TestReadMetrics(t *testing.T) {
	t.Parallel()
	got := doctor.ReadMetrics(`# HELP meshfence_certificate_expiry_timestamp_seconds When it ends.
# TYPE meshfence_certificate_expiry_timestamp_seconds gauge
meshfence_certificate_expiry_timestamp_seconds{certificate="ca"} 1.8e+09
meshfence_certificate_expiry_timestamp_seconds{certificate="serving"} 1.795867200e+09
meshfence_build_info{version="1"} 1
meshfence_config_last_reload_success 1
meshfence_services{fence="strict"} 3
`)
	want := doctor.Metrics{
		Values: map[string]string{"meshfence_build_info": `{version="1"}`, "meshfence_config_last_reload_success": "1"},
		Served: time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
