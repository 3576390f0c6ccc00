package doctor_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

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

// TestAsksForToken: metrics that are for readers alone are not asked for in vain.
func TestAsksForToken(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]bool{
		"serve": false, "serve --metrics-auth": true, "serve --metrics-auth=true": true, "serve --metrics-auth=false": false,
	} {
		pod := corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: []string{"beside"}}, {Args: strings.Fields(args)}}}}
		if got := doctor.AsksForToken(pod); got != want {
			t.Errorf("%s: %t", args, got)
		}
	}
}
