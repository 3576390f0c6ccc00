// Package samples_test shows that meshfence is not in the way of what users really write: the samples and the test
// data that Go modules carry. They are read from the module cache and never copied.
package samples_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
)

// corpora are folders of modules that hold manifests, and how many guarded objects each must yield at least.
func corpora() []corpus {
	const istio, root = "../../hack/tools/istio", "../.."
	return []corpus{
		{istio, "istio.io/istio", "samples", 150},
		{istio, "istio.io/istio", "pkg/config/analysis", 150},
		{istio, "istio.io/istio", "pilot/pkg", 150},
		{istio, "istio.io/istio", "tests/integration/pilot", 5},
		{istio, "sigs.k8s.io/gateway-api", "", 50},
		{root, "github.com/cert-manager/cert-manager", "", 2},
		{"../neighbours", "github.com/argoproj/argo-rollouts", "", 200},
		{"../../hack/tools/flagger", "github.com/fluxcd/flagger", "", 5},
		{"../../hack/tools/knative", "knative.dev/serving", "", 5},
	}
}

// corpus is a folder of a module that a go.mod requires.
type corpus struct {
	requiredBy, module, folder string
	least                      int
}

func (c corpus) String() string { return c.module + "/" + c.folder }

func (c corpus) dir(t *testing.T) string {
	t.Helper()
	download := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", c.module)
	download.Dir = c.requiredBy
	out, err := download.Output()
	if err != nil {
		t.Fatalf("download %s: %v", c.module, err)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(module.Dir, filepath.FromSlash(c.folder))
}

// sample is an object of a guarded kind.
type sample struct {
	file  string
	route admit.Kind
	suite.Document
}

// read returns the guarded objects of a corpus. Templates and files that are broken on purpose are no manifests.
func (c corpus) read(t *testing.T) []sample {
	t.Helper()
	root := c.dir(t)
	var samples []sample
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for part := range bytes.SplitSeq(data, []byte("\n---")) {
			documents, err := suite.Documents(part)
			if err != nil {
				continue
			}
			for _, d := range documents {
				group, _, grouped := strings.Cut(d.APIVersion, "/")
				if !grouped {
					group = ""
				}
				if route, ok := admit.KindFor(group, d.Kind); ok && route.Kind != object.KindConfigMap && d.Name != "" {
					samples = append(samples, sample{strings.TrimPrefix(path, root), route, d})
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

const (
	unrelated = `{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [m1c1]}, holds: [%s],
localities: {m1c1: [r1/*]}, scope: {services: [{namespace: vault, name: ledger, fence: strict}]}}`
	nothing = `{apiVersion: config.meshfence.io/v1alpha1, kind: FenceConfig, controlPlane: {clusters: [m1c1]}, holds: [%s],
localities: {m1c1: [r1/*]}}`
)

// TestInTheWayOfLeaks: with a fence on everything the same samples are changed and refused, so that the passes of
// TestNotInTheWay mean something.
func TestInTheWayOfLeaks(t *testing.T) {
	t.Parallel()
	samples := corpora()[0].read(t)
	index := indexOf(t, strings.Replace(fmt.Sprintf(nothing, "subset"), "holds", "scope: {default: strict}, holds", 1), samples)
	changed, refused := 0, 0
	for _, s := range samples {
		subject := admit.Request{Kind: s.route.Kind, Namespace: "default", Raw: s.JSON}
		if edits, err := admit.Mutate(subject, index.View()); s.route.Mutate && err == nil && len(edits) > 0 {
			changed++
		}
		if verdict, err := admit.Validate(subject, leak.NewGuard(leak.Rules()), index.View(), time.Now()); err == nil && len(verdict.Denied) > 0 {
			refused++
		}
	}
	if changed < 10 || refused < 10 {
		t.Errorf("%d changed and %d refused, want at least ten of each", changed, refused)
	}
}

// TestNotInTheWay: with a fence on a Service that no sample knows, and with no fence at all, no sample is changed or
// refused, whatever the holds. Only a wildcard over every host is about that Service too.
func TestNotInTheWay(t *testing.T) {
	t.Parallel()
	guard := leak.NewGuard(leak.Rules())
	for _, c := range corpora() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			samples := c.read(t)
			if len(samples) < c.least {
				t.Fatalf("%d guarded objects, want at least %d", len(samples), c.least)
			}
			for _, holds := range []string{"meshConfig", "locality", "subset"} {
				for scope, config := range map[string]string{"unrelated": unrelated, "none": nothing} {
					index := indexOf(t, fmt.Sprintf(config, holds), samples)
					for _, s := range samples {
						s.pass(t, index, guard, holds+", "+scope)
					}
				}
			}
			t.Logf("%d guarded objects", len(samples))
		})
	}
}

func indexOf(t *testing.T, text string, samples []sample) *policy.Index {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{File: "config"}, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	index := policy.NewIndex(config)
	index.SetNamespace("vault", nil)
	ledger := hostname.Host{Namespace: "vault", Name: "ledger"}
	index.SetService(ledger, nil)
	index.SetServiceSpec(ledger, object.ServiceSpec{
		Selector: map[string]string{"app": "ledger"}, ClusterIP: "10.255.255.1",
		Ports: []object.ServicePort{{Name: "http", Port: 8080}, {Name: "tcp", Port: 5432}},
	})
	for _, s := range samples {
		object, err := object.Decode(s.route.Kind, s.JSON)
		if err != nil {
			continue // TestNotInTheWay says what is wrong with it
		}
		index.SetObject(object)
	}
	return index
}

// everything reports whether a host covers every Service, or that an egress proxy takes what is for every one that a Sidecar
// does not import, so that a fence on any is about it.
func (s sample) everything() bool {
	return slices.ContainsFunc([]string{`"*"`, `"*.local"`, `"*.svc.cluster.local"`, `"*/*"`, `"egressProxy"`}, func(host string) bool {
		return bytes.Contains(s.JSON, []byte(host))
	})
}

func (s sample) pass(t *testing.T, index *policy.Index, guard *leak.Guard, when string) {
	t.Helper()
	subject := admit.Request{Kind: s.route.Kind, Namespace: s.Namespace, Raw: s.JSON, Writer: "someone"}
	if s.Namespace == "" && s.Kind != object.KindNamespace {
		subject.Namespace = "default"
	}
	at := fmt.Sprintf("%s: %s: %s %s/%s", when, s.file, s.Kind, subject.Namespace, s.Name)
	if s.route.Mutate {
		edits, err := admit.Mutate(subject, index.View())
		if err != nil {
			t.Logf("%s is refused by its schema: %v", at, err)
			return
		}
		if len(edits) > 0 {
			t.Errorf("%s is changed: %v", at, edits)
		}
	}
	verdict, err := admit.Validate(subject, guard, index.View(), time.Now())
	if err != nil {
		t.Logf("%s is refused by its schema: %v", at, err)
		return
	}
	for _, f := range verdict.Denied {
		if strings.HasSuffix(when, "none") || !s.everything() {
			t.Errorf("%s is refused: %s: %s", at, f.Field(), f.Message())
		}
	}
	for _, f := range verdict.Warned {
		// What is in the root namespace is about every Service.
		if strings.HasSuffix(when, "none") || !s.everything() && subject.Namespace != "istio-system" {
			t.Errorf("%s is warned of: %s: %s", at, f.Field(), f.Message())
		}
	}
}
