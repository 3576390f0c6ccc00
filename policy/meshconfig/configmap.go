package meshconfig

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshfence/meshfence/policy"
)

// ConfigMap is a mesh ConfigMap as it is, and what istiod makes of its text. It is immutable and safe to share.
type ConfigMap struct {
	name              string
	data, annotations map[string]string
	effective         ClusterLocal
	// ingress is which Ingresses istiod reads; nil where that is not known.
	ingress *policy.IngressReading
	// unknown says why there is no text to go by.
	unknown error
}

// ReadConfigMap reads a mesh ConfigMap, named in messages as namespace/name. The maps must not be changed.
func ReadConfigMap(name, domain string, data, annotations map[string]string) ConfigMap {
	m := ConfigMap{name: name, data: data, annotations: annotations}
	var err error
	if m.effective, err = EffectiveClusterLocal(domain, data[Key]); err != nil {
		m.unknown = fmt.Errorf("cannot be read by meshfence: %w", err)
	}
	if reading, err := ingressReading(data[Key]); err == nil {
		m.ingress = &reading
	}
	return m
}

// MissingConfigMap stands for a mesh ConfigMap that does not exist.
func MissingConfigMap(name string) ConfigMap {
	return ConfigMap{name: name, ingress: new(policy.DefaultIngressReading()), unknown: errors.New("does not exist")}
}

// UnknownConfigMap stands for a mesh ConfigMap that nobody could read, for that reason.
func UnknownConfigMap(name string, reason error) ConfigMap {
	return ConfigMap{name: name, unknown: fmt.Errorf("cannot be read: %w", reason)}
}

// Fault says in what the ConfigMap does not hold the scope of a view, and lists the strict hosts and wildcards that
// it lacks; nil where it holds it. It is behind where admission can add what it lacks.
func (m ConfigMap) Fault(view *policy.View) (*policy.HoldFault, []string) {
	if m.unknown != nil {
		return &policy.HoldFault{Reason: fmt.Sprintf("ConfigMap %s %s", m.name, m.unknown)}, nil
	}
	lacks := m.effective.Lacks(view)
	if len(lacks) == 0 {
		return nil, nil
	}
	fault := &policy.HoldFault{Behind: true, Holds: m.effective.Has}
	fault.Reason = fmt.Sprintf("ConfigMap %s lacks clusterLocal entries of strict hosts", m.name)
	if err := m.uneditable(view); err != nil {
		fault.Behind = false
		fault.Reason += fmt.Sprintf(", and nobody but you can add them: %s", err)
	}
	return fault, lacks
}

// uneditable says why admission cannot put in what the scope wants; nil where it can. The numbers of a text that
// would be too large are not in it, because they change with every Service.
func (m ConfigMap) uneditable(view *policy.View) error {
	_, err := PlanFor(m.data, m.annotations, view.Config().ClusterDomain, view)
	if _, large := errors.AsType[*TooLarge](err); large {
		return errors.New("it would become too large for a ConfigMap")
	}
	return err
}

// JoinIngress returns which Ingresses istiods of several ConfigMaps read; nil where that of one is not known, or where
// there is none.
func JoinIngress(readings []*policy.IngressReading) *policy.IngressReading {
	if len(readings) == 0 || slices.Contains(readings, nil) {
		return nil
	}
	joined := policy.IngressReading{}
	for _, r := range readings {
		joined = joined.And(*r)
	}
	return &joined
}

// JoinFaults returns the fault of a hold that needs several things, all of them; nil where none has a fault.
func JoinFaults(faults []*policy.HoldFault) *policy.HoldFault {
	joined := &policy.HoldFault{Behind: true, Holds: func(host string) bool {
		for _, f := range faults {
			if !f.Keeps(host) {
				return false
			}
		}
		return true
	}}
	var reasons []string
	for _, f := range faults {
		if f != nil {
			joined.Behind = joined.Behind && f.Behind
			reasons = append(reasons, f.Reason)
		}
	}
	if len(reasons) == 0 {
		return nil
	}
	joined.Reason = strings.Join(reasons, "; ")
	return joined
}
