package controller_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/policy"
)

// TestSetupRefusesOptions needs no manager: bad options are found first. The rest of the package is tested on a
// real API server in test/e2e.
func TestSetupRefusesOptions(t *testing.T) {
	t.Parallel()
	good := controller.Options{
		Index:      policy.NewIndex(&policy.Config{}),
		Synced:     func() bool { return true },
		HasObjects: func(...string) bool { return true },
		Registerer: prometheus.NewRegistry(),
	}
	tests := map[string]struct {
		spoil func(*controller.Options)
		want  []string
	}{
		"nothing": {func(o *controller.Options) { *o = controller.Options{} },
			[]string{"Index must be set", "Synced must be set", "HasObjects must be set", "Registerer must be set"}},
		"negative": {func(o *controller.Options) { o.BackfillRate, o.Resync, o.Settle = -1, -time.Second, -1 },
			[]string{"BackfillRate must not be negative", "Resync must not be negative", "Settle must not be negative"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := good
			test.spoil(&o)
			err := controller.Setup(nil, o)
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("want %q in %v", want, err)
				}
			}
		})
	}
}
