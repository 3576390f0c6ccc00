package neighbours_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/ssa"
)

// fluxSet is a set that Flux makes in one go: the routes lead to Services of the same set.
const fluxSet = `apiVersion: v1
kind: Service
metadata: {name: reviews, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews-v2, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews, version: v2}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: tester}}}]
    route: [{destination: {host: reviews-v2}}]
  - route: [{destination: {host: reviews, subset: v1}}]
`

func fluxRows() []row {
	return []row{
		{"Flux, a new set", fluxNew, always("created, 4 writes")},
		{"Flux, reconcile again", fluxAgain, always("unchanged, 0 writes")},
	}
}

// fluxApply reconciles the set and returns the actions that Flux reports, and its writes that were no dry run.
func (b *bed) fluxApply(t *testing.T, namespace string) (string, error) {
	t.Helper()
	config, writes := b.counting()
	manager := ssa.NewResourceManager(newClient(t, config), nil, ssa.Owner{Field: "kustomize-controller", Group: "kustomize.toolkit.fluxcd.io"})
	set := objects(t, namespace, fluxSet)
	manager.SetOwnerLabels(set, "shop", "flux-system")
	changes, err := manager.ApplyAllStaged(t.Context(), set, ssa.DefaultApplyOptions())
	if err != nil {
		return "", err
	}
	var actions []string
	for _, e := range changes.Entries {
		if !slices.Contains(actions, e.Action.String()) {
			actions = append(actions, e.Action.String())
		}
	}
	b.settled(t, set)
	return fmt.Sprintf("%s, %d writes", strings.Join(actions, " and "), writes.Load()), nil
}

func fluxNew(t *testing.T, b *bed) string {
	actions, err := b.fluxApply(t, b.CreateNamespace(t, nil))
	if err != nil {
		return err.Error()
	}
	return actions
}

func fluxAgain(t *testing.T, b *bed) string {
	namespace := b.CreateNamespace(t, nil)
	// Services first, so that this row does not depend on how a dry run of the whole set is judged.
	services, _, _ := strings.Cut(fluxSet, "---\napiVersion: networking")
	if err := b.Apply(t.Context(), services, "-n", namespace); err != nil {
		t.Fatal(err)
	}
	if _, err := b.fluxApply(t, namespace); err != nil {
		t.Fatal(err)
	}
	actions, err := b.fluxApply(t, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return actions
}
