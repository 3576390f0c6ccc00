package registry_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meshfence/meshfence/registry"
)

// A name is taken once: whoever registers it again gets an error, and no second series.
func Example() {
	served := prometheus.NewRegistry()
	pages := prometheus.NewCounter(prometheus.CounterOpts{Name: "pages_total", Help: "Pages that were served."})
	fmt.Println(registry.Add(served, pages))
	fmt.Println(registry.Add(served, pages) != nil)

	pages.Inc()
	families, err := served.Gather()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, f := range families {
		fmt.Println(f.GetName(), f.GetMetric()[0].GetCounter().GetValue())
	}
	// Output:
	// <nil>
	// true
	// pages_total 1
}
