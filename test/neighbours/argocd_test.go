package neighbours_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-logr/logr"
	"github.com/itchyny/gojq"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/tracing"

	"github.com/meshfence/meshfence/test/testbed"
)

// argoManager is the field manager of Argo CD's controller.
const argoManager = "argocd-controller"

// argoApp is an Application with a rule that has subsets of its own, one that has none, and routes.
const argoApp = `apiVersion: v1
kind: Service
metadata: {name: reviews, annotations: {meshfence.io/fence: strict, argocd.argoproj.io/tracking-id: "shop:/Service:shop/reviews"}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: tester}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews}}]
---
apiVersion: v1
kind: Service
metadata: {name: ratings, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: ratings}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: ratings}
spec:
  host: ratings
  trafficPolicy:
    connectionPool: {tcp: {maxConnections: 100}}
    portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: LEAST_REQUEST}}]
`

// argoIgnored are the jqPathExpressions of docs/gitops.md, by kind.
func argoIgnored() map[string]string {
	return map[string]string{
		"DestinationRule": `.spec.subsets[]? | select(.name == "meshfence-local")`,
		"VirtualService":  `.spec.http[]?.route[]?.destination | select(.subset == "meshfence-local") | .subset`,
	}
}

// ignored takes what jqPathExpressions select out of objects, by the query that Argo CD makes of one (its
// util/argo/normalizers/diff_normalizer.go, which needs other Kubernetes modules than gitops-engine's diff does here).
type ignored struct{ queries map[string]*gojq.Query }

func ignoring(t *testing.T, expressions map[string]string) ignored {
	t.Helper()
	n := ignored{map[string]*gojq.Query{}}
	for kind, expression := range expressions {
		query, err := gojq.Parse("del(" + expression + ")")
		if err != nil {
			t.Fatal(err)
		}
		n.queries[kind] = query
	}
	return n
}

// Normalize removes what is ignored.
func (n ignored) Normalize(o *unstructured.Unstructured) error {
	query, ok := n.queries[o.GetKind()]
	if !ok {
		return nil
	}
	data, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	var object any
	if err := json.Unmarshal(data, &object); err != nil {
		return err
	}
	result, _ := query.Run(object).Next()
	if err, failed := result.(error); failed {
		return err
	}
	if data, err = json.Marshal(result); err != nil {
		return err
	}
	return o.UnmarshalJSON(data)
}

func argoRows() []row {
	return []row{
		{"Argo CD", argoClientSide, alone("OutOfSync: DestinationRule/reviews", "Synced")},
		{"Argo CD, jqPathExpressions", argoJQ, always("Synced")},
		{"Argo CD, ServerSideDiff", argoServerSide, always("Synced")},
		{"Argo CD, render --write", argoWritten, always("Synced")},
		{"Argo CD, fenced afterwards", argoBefore, alone("OutOfSync: DestinationRule/reviews", "Synced")},
		{"Argo CD, sync again: objects that change", argoAgain, always("none")},
	}
}

func argoClientSide(t *testing.T, b *bed) string {
	return b.argoState(t, b.argoSync(t, b.CreateNamespace(t, nil), argoApp))
}

func argoJQ(t *testing.T, b *bed) string {
	return b.argoState(t, b.argoSync(t, b.CreateNamespace(t, nil), argoApp), diff.WithNormalizer(ignoring(t, argoIgnored())))
}

func argoServerSide(t *testing.T, b *bed) string {
	kubectl := argoKubectl()
	_, parser, err := kubectl.LoadOpenAPISchema(b.Config())
	if err != nil {
		t.Fatal(err)
	}
	applier, cleanup, err := kubectl.ManageServerSideDiffDryRuns(b.Config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cleanup)
	return b.argoState(t, b.argoSync(t, b.CreateNamespace(t, nil), argoApp),
		diff.WithServerSideDiff(true), diff.WithIgnoreMutationWebhook(true), diff.WithGVKParser(parser),
		diff.WithManager(argoManager), diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(applier)))
}

// argoWritten has Git say what admission stores.
func argoWritten(t *testing.T, b *bed) string {
	namespace := b.CreateNamespace(t, nil)
	config := filepath.Join(t.TempDir(), "fenceconfig.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, fenceConfig, b.holds), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := testbed.Tool(testbed.ToolMeshfence)
	if err != nil {
		t.Fatal(err)
	}
	render := exec.CommandContext(t.Context(), program, "render", "--write", "-f", "-", "--config", config, "-n", namespace)
	render.Stdin = strings.NewReader(argoApp + "---\n" + node)
	written, err := render.Output()
	if err != nil {
		t.Fatal(err)
	}
	app, _, _ := strings.Cut(string(written), "---\n"+node)
	return b.argoState(t, b.argoSync(t, namespace, app))
}

// argoBefore fences what Argo CD has applied before. The backfill sends it through admission.
func argoBefore(t *testing.T, b *bed) string {
	namespace := b.CreateNamespace(t, nil)
	app := b.argoSync(t, namespace, strings.ReplaceAll(argoApp, "meshfence.io/fence: strict", "team: shop"))
	if _, _, err := b.Kubectl(t.Context(), "", "label", "namespace", namespace, "meshfence.io/fence=strict"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the backfill has been here", func(context.Context) error {
		for _, o := range app {
			if err := b.lacks(t, o); err != nil {
				return err
			}
		}
		return nil
	})
	return b.argoState(t, app)
}

// argoAgain syncs twice, as self-heal does.
func argoAgain(t *testing.T, b *bed) string {
	namespace := b.CreateNamespace(t, nil)
	app := b.argoSync(t, namespace, argoApp)
	before := b.versions(t, app)
	b.argoSync(t, namespace, argoApp)
	return changed(before, b.versions(t, app))
}

// changed names what has another version.
func changed(before, after map[string]string) string {
	var names []string
	for name, version := range after {
		if before[name] != version {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func argoKubectl() *kube.KubectlCmd {
	return &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
}

// argoSync applies the Application as Argo CD does by default: kubectl's client-side apply.
func (b *bed) argoSync(t *testing.T, namespace, manifests string) []*unstructured.Unstructured {
	t.Helper()
	operations, cleanup, err := argoKubectl().ManageResources(b.Config())
	if err != nil {
		t.Fatal(err)
	}
	defer cleanup()
	app := objects(t, namespace, manifests)
	for _, o := range app {
		if _, err := operations.ApplyResource(t.Context(), o, cmdutil.DryRunNone, false, false, false, argoManager); err != nil {
			t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
	return app
}

// argoState compares an Application with what is stored.
func (b *bed) argoState(t *testing.T, app []*unstructured.Unstructured, options ...diff.Option) string {
	t.Helper()
	b.settled(t, app)
	var drifted []string
	for _, o := range app {
		result, err := diff.Diff(o, b.live(t, o), append(options, diff.WithLogr(logr.Discard()))...)
		if err != nil {
			t.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
		if result.Modified {
			drifted = append(drifted, o.GetKind()+"/"+o.GetName())
			t.Logf("%s %s: live %s\npredicted %s", o.GetKind(), o.GetName(), compact(result.NormalizedLive), compact(result.PredictedLive))
		}
	}
	if len(drifted) == 0 {
		return "Synced"
	}
	return "OutOfSync: " + strings.Join(drifted, ", ")
}

func compact(data []byte) string {
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return string(data)
	}
	return b.String()
}
