package metric_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/meshfence/meshfence/controller/metric"
)

// The gauges of a leader go with its term, so that no two replicas speak for the cluster.
func Example() {
	set, err := metric.New(prometheus.NewRegistry())
	if err != nil {
		fmt.Println(err)
		return
	}
	set.Findings.WithLabelValues("virtualservice-mirror", "denied").Set(2)
	fmt.Println(testutil.CollectAndCount(set.Findings))
	set.Forget()
	fmt.Println(testutil.CollectAndCount(set.Findings))
	// Output:
	// 1
	// 0
}
