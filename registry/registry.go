package registry

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Add registers metrics; the error is that of a registerer that has one of their names already.
func Add(registerer prometheus.Registerer, metrics ...prometheus.Collector) error {
	for _, m := range metrics {
		if err := registerer.Register(m); err != nil {
			return fmt.Errorf("register metrics: %w", err)
		}
	}
	return nil
}
