package webhook

import "sigs.k8s.io/controller-runtime/pkg/webhook/admission"

// Subject returns what a request is about.
func (a *Admission) Subject(req admission.Request) Subject { return a.subject(req) }
