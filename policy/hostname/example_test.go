package hostname_test

import (
	"fmt"

	"github.com/meshfence/meshfence/policy/hostname"
)

// A host of an Istio object is resolved in the namespace of the object, as istiod does it.
func Example() {
	fqdn := hostname.Resolve("reviews", "shop", "cluster.local")
	host, ok := hostname.Parse(fqdn, "cluster.local")
	fmt.Println(fqdn, host.Namespace, host.Name, ok)
	// Output: reviews.shop.svc.cluster.local shop reviews true
}
