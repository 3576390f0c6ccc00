package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
)

// storedRule is a DestinationRule that stands for a host, as it is stored.
type storedRule struct {
	name string
	// reserved reports whether it has the reserved subset.
	reserved bool
}

// hasReserved reports whether a cached DestinationRule has the reserved subset.
func (m *mesh) hasReserved(rule *unstructured.Unstructured) bool {
	if !isCompanion(rule) {
		return len(values(rule, reservedField)) > 0
	}
	decoded, err := decode(rule)
	return err == nil && inject.HasReserved(decoded.DestinationRule, m.index.Config())
}

// lacksReserved returns the name of a DestinationRule without the reserved subset, among those that stand for a host;
// empty where all have it. A route to the subset would find no endpoint for the clients to whom Istio gives that rule:
// which one that is of several depends on their age and on exportTo (row B5).
func lacksReserved(rules []storedRule) string {
	for _, r := range rules {
		if !r.reserved {
			return r.name
		}
	}
	return ""
}

// lacksRule names the DestinationRule that a Service is still without, because its companion controller has yet to make
// it, or whose reserved subset it is without; empty where routes may lead there.
func (b *backfill) lacksRule(ctx context.Context, fqdn string) (string, error) {
	host, ok := hostname.Parse(fqdn, b.index.Config().ClusterDomain)
	if !ok {
		return "", nil
	}
	rules, err := b.list(ctx, b.rule, host.Namespace, client.MatchingFields{byName: host.Name})
	if err != nil {
		return "", err
	}
	var stand []storedRule
	for i := range rules {
		if b.rules(&rules[i], fqdn) {
			stand = append(stand, storedRule{rules[i].GetName(), b.hasReserved(&rules[i])})
		}
	}
	if len(stand) > 0 {
		return lacksReserved(stand), nil
	}
	var service corev1.Service
	err = b.live.Get(ctx, client.ObjectKey{Namespace: host.Namespace, Name: host.Name}, &service)
	if apierrors.IsNotFound(err) || service.Spec.Type == corev1.ServiceTypeExternalName {
		return "", nil // nothing will be made for it
	}
	return inject.CompanionName(host.Name), err
}

// awaits tells, once, of a DestinationRule that lacks the subset which the companion route leads to.
func (c *companions) awaits(ctx context.Context, service *corev1.Service, lacking string, routed bool) {
	p := c.history.of(hostname.Host{Namespace: service.Namespace, Name: service.Name})
	name := inject.CompanionName(service.Name)
	if p.lacking == lacking {
		return
	}
	p.lacking = lacking
	if lacking == "" || lacking == name { // the companion is made at once, unless the Namespace goes
		return
	}
	logf.FromContext(ctx).Info("rule lacks the reserved subset", "rule", lacking, "routed", routed)
	what := "VirtualService %s waits for it, and until then the fence does not hold"
	if routed {
		what = "calls fail, because VirtualService %s leads to it"
	}
	c.recorder.Eventf(service, nil, corev1.EventTypeWarning, "RuleLacksSubset", "MakeCompanion",
		"DestinationRule %s has no subset %q of this cluster: "+what+"; apply that rule again, and admission adds the subset or says why not",
		lacking, policy.ReservedSubset, name)
}
