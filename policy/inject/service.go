package inject

import (
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// service labels a fenced Service with its fence and says what fences it; both go when nothing does.
func service(o *object.Object, view *policy.View) Plan {
	host := hostname.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
	decision := view.Service(host, o.Metadata.Annotations)
	if decision.Exempt {
		return Plan{}
	}
	var plan Plan
	marks := decision.Marks()
	plan.setString([]string{"metadata", "labels"}, policy.FencedLabel, o.Metadata.Labels, marks.Fence)
	plan.setString([]string{"metadata", "annotations"}, policy.FencedByAnnotation, o.Metadata.Annotations, marks.By)
	return plan
}
