package backfill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
)

// The shortest and the longest time until a pass that left something undone is repeated.
const (
	retryFirst = time.Second
	retryMax   = 5 * time.Minute
)

// later returns how long to wait after a pass that left something undone, when that before took so long.
func later(delay time.Duration) time.Duration { return min(max(2*delay, retryFirst), retryMax) }

// bring sends one object through admission.
func (b *Backfill) bring(ctx context.Context, j *job) result {
	if r, ok := b.progress.denied(j); ok {
		return r
	}
	if r, err := b.ready(ctx, j); err != nil || r.state != "" {
		return orPending(r, err)
	}
	if err := b.limiter.Wait(ctx); err != nil {
		return orPending(result{}, err)
	}
	return b.write(ctx, j)
}

// errUnchanged says that an object came back from the API server as it was.
var errUnchanged = errors.New("admission left the object as it was")

// write patches nothing but makes sure that the object is still the one that was inspected.
func (b *Backfill) write(ctx context.Context, j *job) result {
	precondition := map[string]any{"metadata": map[string]any{"uid": j.stub.GetUID(), "resourceVersion": j.stub.GetResourceVersion()}}
	patch, err := json.Marshal(precondition)
	if err != nil {
		return orPending(result{}, err)
	}
	stored := stubOf(j.stub)
	if err := b.Writer.Patch(ctx, stored, client.RawPatch(types.MergePatchType, patch)); err != nil {
		return refused(err)
	}
	left, err := inspect(stored, b.Mesh.Index)
	if err == nil && left != nil {
		err = errUnchanged
	}
	return orPending(result{state: stateDone}, err)
}

// refused returns what the error of a write makes of an object: one that is gone is in line.
func refused(err error) result {
	switch {
	case apierrors.IsNotFound(err):
		return result{state: stateDone}
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		return result{stateFailed, err.Error()}
	}
	return orPending(result{}, err)
}

// orPending returns the result, or where there is an error that time may fix what it says.
func orPending(r result, err error) result {
	if err != nil {
		return result{statePending, err.Error()}
	}
	return r
}

// ready returns the state of an object that must wait for others, or an empty result.
func (b *Backfill) ready(ctx context.Context, j *job) (result, error) {
	for _, host := range j.needs {
		if rule, r, ok := b.progress.differing(host); ok {
			return result{r.dependent(), fmt.Sprintf("DestinationRule %s/%s of %s comes first", rule.Namespace, rule.Name, host)}, nil
		}
		lacking, err := b.lacksRule(ctx, host)
		if err != nil {
			return result{}, err
		}
		if lacking != "" {
			return result{statePending, fmt.Sprintf("the reserved subset of %s comes first, in DestinationRule %s", host, lacking)}, nil
		}
	}
	if j.step != loosen {
		return result{}, nil
	}
	routes, err := b.Mesh.LeadTo(ctx, j.rule)
	if err != nil || len(routes) == 0 {
		return result{}, err
	}
	state := statePending
	if r, ok := b.progress.of(routes[0]); ok {
		state = r.dependent()
	}
	return result{state, fmt.Sprintf("VirtualService %s/%s leads to its reserved subset", routes[0].Namespace, routes[0].Name)}, nil
}

// lacksRule names the DestinationRule that a Service is still without, because its companion controller has yet to make
// it, or whose reserved subset it is without; empty where routes may lead there.
func (b *Backfill) lacksRule(ctx context.Context, fqdn string) (string, error) {
	host, ok := hostname.Parse(fqdn, b.Mesh.Index.Config().ClusterDomain)
	if !ok {
		return "", nil
	}
	rules, err := b.Mesh.RulesFor(ctx, host)
	if err != nil {
		return "", err
	}
	if len(rules) > 0 {
		return mesh.Lacking(rules), nil
	}
	var service corev1.Service
	err = b.Live.Get(ctx, client.ObjectKey{Namespace: host.Namespace, Name: host.Name}, &service)
	if apierrors.IsNotFound(err) || service.Spec.Type == corev1.ServiceTypeExternalName {
		return "", nil // nothing will be made for it
	}
	return inject.CompanionName(host.Name), err
}
