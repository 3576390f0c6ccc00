package leak

import (
	"fmt"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// anyStrict returns the strict host that counts for what touches every one of the cluster; ok is false where there is
// none.
func anyStrict(view *policy.View) (host policy.FencedHost, ok bool) {
	return strictIn("*.svc."+view.Config().ClusterDomain, view)
}

// besideStrict returns the strict host that counts for what is for every workload of the object's Namespace, or of the
// mesh where that is the root namespace, and says which it is; ok is false where there is none.
func besideStrict(o *object.Object, view *policy.View) (host policy.FencedHost, where string, ok bool) {
	config, namespace := view.Config(), o.Metadata.Namespace
	if namespace == config.IstioNamespace {
		host, ok = strictIn("*", view)
		return host, "the root namespace of a mesh with strict Services", ok
	}
	host, ok = strictIn(fmt.Sprintf("*.%s.svc.%s", namespace, config.ClusterDomain), view)
	return host, "a namespace with a strict Service", ok
}

func strictIn(wildcard string, view *policy.View) (host policy.FencedHost, ok bool) {
	match := view.Match(wildcard)
	if !match.Has(policy.Strict) {
		return host, false
	}
	return match.Host(policy.Strict), true
}
