package backfill

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

// bring sends one object through admission.
func (b *Backfill) bring(ctx context.Context, d *difference) result {
	if r, ok := b.progress.denied(d); ok {
		return r
	}
	if r := b.ready(d); r.state != "" {
		return r
	}
	if err := b.limiter.Wait(ctx); err != nil {
		return orPending(result{}, err)
	}
	if now, exists := b.Mesh.Index.View().Object(d.Key); exists && now != d.of {
		return orPending(result{}, errMeanwhile)
	}
	return b.write(ctx, d)
}

// errMeanwhile says that an object is another one than was looked at, so that others may have to come first.
var errMeanwhile = errors.New("the object has changed since it was looked at")

// errUnchanged says that an object came back from the API server as it was.
var errUnchanged = errors.New("admission left the object as it was")

// write patches nothing.
func (b *Backfill) write(ctx context.Context, d *difference) result {
	stored := d.empty(b.Mesh)
	if err := b.Writer.Patch(ctx, stored, client.RawPatch(types.MergePatchType, []byte("{}"))); err != nil {
		return refused(err)
	}
	d.uid = stored.GetUID()
	now, err := mesh.Decode(stored)
	if err == nil && stored.GetDeletionTimestamp() == nil && inspect(now, b.Mesh.Index) != nil {
		err = errUnchanged
	}
	if err == nil {
		b.wrote(d, now)
	}
	return orPending(result{state: stateDone}, err)
}

// wrote keeps a look from queueing the object again before the index has seen what is stored now.
func (b *Backfill) wrote(d *difference, now *object.Object) {
	if d.of != nil {
		b.progress.wrote(d.of)
		return
	}
	host := hostname.Host{Namespace: d.Namespace, Name: d.Name}
	if _, _, exists := b.Mesh.Index.Annotation(host); exists {
		b.Mesh.Index.SetMarks(host, policy.MarksOf(now.Metadata.Labels, now.Metadata.Annotations))
	}
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
func (b *Backfill) ready(d *difference) result {
	for _, host := range d.needs {
		if rule, r, ok := b.progress.differing(host); ok {
			return result{r.dependent(), fmt.Sprintf("DestinationRule %s/%s of %s comes first", rule.Namespace, rule.Name, host)}
		}
		if lacking := b.lacksRule(host); lacking != "" {
			return result{statePending, fmt.Sprintf("the reserved subset of %s comes first, in DestinationRule %s", host, lacking)}
		}
	}
	if d.step != loosen {
		return result{}
	}
	routes := b.Mesh.LeadTo(d.rule)
	if len(routes) == 0 {
		return result{}
	}
	state := statePending
	if r, ok := b.progress.of(routes[0]); ok {
		state = r.dependent()
	}
	return result{state, fmt.Sprintf("VirtualService %s/%s leads to its reserved subset", routes[0].Namespace, routes[0].Name)}
}

// lacksRule names the DestinationRule that a Service is still without, because its companion controller has yet to make
// it, or whose reserved subset it is without; empty where routes may lead there.
func (b *Backfill) lacksRule(fqdn string) string {
	host, ok := hostname.Parse(fqdn, b.Mesh.Index.Config().ClusterDomain)
	if !ok {
		return ""
	}
	if rules := b.Mesh.RulesFor(host); len(rules) > 0 {
		return mesh.Lacking(rules)
	}
	if !b.Mesh.Index.View().Serves(host) {
		return "" // nothing will be made for it
	}
	return inject.CompanionName(host.Name)
}
