package inject

import "github.com/meshfence/meshfence/policy"

// service labels a fenced Service with its fence and says what fences it; both go when nothing does.
func service(o *policy.Object, view *policy.View) Plan {
	host := policy.Host{Namespace: o.Metadata.Namespace, Name: o.Metadata.Name}
	decision := view.Service(host, o.Metadata.Annotations)
	if decision.Exempt {
		return Plan{}
	}
	var label, by string
	if decision.Fence != policy.None {
		label, by = decision.Fence.String(), decision.By
	}
	var plan Plan
	plan.setString([]string{"metadata", "labels"}, policy.FencedLabel, o.Metadata.Labels, label)
	plan.setString([]string{"metadata", "annotations"}, policy.FencedByAnnotation, o.Metadata.Annotations, by)
	return plan
}
