package neighbours_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/test/testbed"
)

// flaggerCanary is a Canary of Flagger. Its Services and routes are made by Flagger.
const flaggerCanary = `apiVersion: flagger.app/v1beta1
kind: Canary
metadata: {name: shop}
spec:
  provider: istio
  targetRef: {apiVersion: apps/v1, kind: Deployment, name: shop}
  service: {port: 80%s}
  analysis: {interval: 1m, threshold: 5, maxWeight: 50, stepWeight: 10}
`

// flaggerFenced puts the fence where Flagger keeps it: annotations on its own Services are gone at its next tick.
const flaggerFenced = `, apex: {annotations: {meshfence.io/fence: strict}}, primary: {annotations: {meshfence.io/fence: strict}}, canary: {annotations: {meshfence.io/fence: strict}}`

func flaggerRows() []row {
	return []row{
		{"Flagger, strict Namespace", func(t *testing.T, b *bed) string { return b.flagger(t, b.strictNamespace(t), "") }, alone("refused with the reason", "90/10, again: 90/10, changed: none")},
		{"Flagger, annotations in the Canary", func(t *testing.T, b *bed) string { return b.flagger(t, b.CreateNamespace(t, nil), flaggerFenced) }, alone("refused with the reason", "90/10, again: 90/10, changed: none")},
	}
}

// flagger sets a weight of 10 for the canary, ticks once more, and says which weights Flagger reads and which objects
// the second tick changed.
func (b *bed) flagger(t *testing.T, namespace, fence string) string {
	t.Helper()
	if err := b.Apply(t.Context(), fmt.Sprintf(flaggerCanary, fence), "-n", namespace); err != nil {
		t.Fatal(err)
	}
	if _, err := b.tick(t, namespace, -1); err != nil {
		if strings.Contains(err.Error(), "use hold meshConfig or locality, because Flagger") {
			return "refused with the reason"
		}
		return err.Error()
	}
	first, err := b.tick(t, namespace, 10)
	if err != nil {
		return err.Error()
	}
	set := objects(t, namespace, `{apiVersion: v1, kind: Service, metadata: {name: shop}}
---
{apiVersion: v1, kind: Service, metadata: {name: shop-primary}}
---
{apiVersion: v1, kind: Service, metadata: {name: shop-canary}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: shop-primary}}
---
{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: shop-canary}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: shop}}`)
	b.settled(t, set)
	before := b.versions(t, set)
	second, err := b.tick(t, namespace, -1)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, again: %s, changed: %s", first, second, changed(before, b.versions(t, set)))
}

// ticked is what hack/tools/flagger answers.
type ticked struct{ Writes, Primary, Canary int }

// String returns the weights.
func (a ticked) String() string { return fmt.Sprintf("%d/%d", a.Primary, a.Canary) }

// tick has Flagger reconcile, and set the weight of the canary unless it is below 0.
func (b *bed) tick(t *testing.T, namespace string, weight int) (ticked, error) {
	t.Helper()
	path, err := testbed.Tool("flagger")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "-kubeconfig="+b.Kubeconfig, "-namespace="+namespace, "-canary=shop", "-weight="+strconv.Itoa(weight)).Output()
	if failed, ok := errors.AsType[*exec.ExitError](err); ok {
		return ticked{}, errors.New(strings.TrimSpace(string(failed.Stderr)))
	}
	if err != nil {
		return ticked{}, err
	}
	var answer ticked
	if err := json.Unmarshal(out, &answer); err != nil {
		return ticked{}, err
	}
	t.Logf("weight %d: %s, %d writes", weight, answer, answer.Writes)
	return answer, nil
}
