package backfill_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/controller/backfill"
	"github.com/meshfence/meshfence/controller/mesh"
	"github.com/meshfence/meshfence/test/fakecluster"
)

// TestRefused: what is wrong with an object stays so until something changes, and anything else may be over in a moment.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"not found":       {apierrors.NewNotFound(schema.GroupResource{}, "a"), backfill.Done},
		"invalid":         {apierrors.NewInvalid(schema.GroupKind{}, "a", nil), backfill.Failed},
		"forbidden":       {apierrors.NewForbidden(schema.GroupResource{}, "a", errors.New("no")), backfill.Failed},
		"bad request":     {apierrors.NewBadRequest("no"), backfill.Failed},
		"conflict":        {apierrors.NewConflict(schema.GroupResource{}, "a", errors.New("no")), backfill.Pending},
		"no webhook":      {apierrors.NewInternalError(errors.New("failed calling webhook")), backfill.Pending},
		"any other":       {errors.New("no"), backfill.Pending},
		"too many writes": {apierrors.NewTooManyRequests("later", 1), backfill.Pending},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state, reason := backfill.Refused(test.err)
			if state != test.want || (reason != "") != (state != backfill.Done) {
				t.Errorf("state %q, reason %q; want state %q", state, reason, test.want)
			}
		})
	}
}

// TestInspect finds what admission would change in a stored object, and when in the order of writes that is.
func TestInspect(t *testing.T) {
	t.Parallel()
	const host = "reviews.shop.svc.cluster.local"
	withSubset := "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: users, namespace: shop, " +
		"annotations: {meshfence.io/injected: '{\"subsets\":[\"meshfence-local\"]}'}}, " +
		"spec: {host: reviews, subsets: [{name: meshfence-local, labels: {topology.istio.io/cluster: m1c1}}]}}"
	for name, test := range map[string]struct {
		config, object string
		step, rule     string
		needs          []string
	}{
		"a rule without the subset":         {subsetConfig, plainRule, "tighten", host, nil},
		"a route that names none":           {subsetConfig, plainRoute, "reroute", "", []string{host}},
		"a subset that nothing needs":       {meshConfig, withSubset, "loosen", host, nil},
		"a rule that needs none":            {meshConfig, plainRule, "", "", nil},
		"a route that needs none":           {meshConfig, plainRoute, "", "", nil},
		"an exempt Namespace":               {subsetConfig + "scope: {exemptNamespaces: [shop]}\n", plainRule, "", "", nil},
		"a rule for a host without fence":   {subsetConfig, "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: users, namespace: shop}, spec: {host: ratings}}", "", "", nil},
		"a Service that lacks its label":    {subsetConfig, reviews, "label", "", nil},
		"one that is not fenced lacks none": {subsetConfig, "{apiVersion: v1, kind: Service, metadata: {name: ratings, namespace: shop}}", "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := fakecluster.New(t, test.config, shop, reviews)
			o, err := mesh.Decode(fakecluster.Object(t, test.object))
			if err != nil {
				t.Fatal(err)
			}
			step, rule, needs := backfill.Inspect(o, c.Index)
			want, got := fmt.Sprint(test.step, test.rule, test.needs), fmt.Sprint(step, rule, needs)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("difference (-want +got):\n%s", diff)
			}
		})
	}
}
