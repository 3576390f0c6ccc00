package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
	cases "github.com/meshfence/meshfence/policy/suite"
)

var full = flag.Bool("full", false, "send every fixture to the API server, and not only the first of each rule and outcome")

// companionNameReserved is the rule about objects that the controller writes as well.
const companionNameReserved = "companion-name-reserved"

// Titles of cases whose answer comes from elsewhere.
const (
	takenBack        = "A user may label a rule of the reserved name that existed before."
	coversEverything = "A ServiceEntry for every host takes a strict one."
	mirroredSlice    = "A mirrored slice adds addresses to a destination with a selector."
)

// The fixtures of every rule get from the real API server the answer that their folder names. make e2e sends all of
// them; that the guard alone judges all of them so is tested with it.
func TestRules(t *testing.T) {
	s := shared(t)
	all, err := cases.Load(os.DirFS("../../policy/leak/testdata"))
	if err != nil {
		t.Fatal(err)
	}
	all = slices.DeleteFunc(all, func(c cases.Case) bool {
		// For the audit alone, or what a controller takes back before the object comes: ours (TestCompanionNameIsTaken), or
		// that of Kubernetes, which deletes a mirrored slice whose Endpoints do not exist.
		return c.Operation == cases.Audit || c.Suite() == companionNameReserved && c.Title == takenBack || c.Title == mirroredSlice
	})
	if !*full {
		sent := map[string]bool{}
		all = slices.DeleteFunc(all, func(c cases.Case) bool {
			kind := c.Suite() + " " + string(c.Expect.Outcome)
			again := sent[kind]
			sent[kind] = true
			return again
		})
	}
	// The FenceConfig is reloaded only where it changes.
	slices.SortStableFunc(all, func(a, b cases.Case) int { return bytes.Compare(a.Config, b.Config) })
	api := newAPI(t, s)
	owner := api.as(t, "system:kube-controller-manager") // who may remove companions
	for _, c := range all {
		t.Run(c.Suite()+"/"+strings.TrimSuffix(c.Title, "."), func(t *testing.T) {
			for _, d := range append(c.Scene, c.Object) {
				api.put(t, namespace(d.Namespace))
			}
			existing := c.Scene
			if c.Old != nil {
				existing = append(existing, *c.Old)
			}
			if c.Deleted() {
				existing = append(existing, c.Object)
			}
			for _, d := range existing {
				if d.Kind == object.KindService && (hostname.Host{Namespace: d.Namespace, Name: d.Name}).IsAPIServer() {
					continue // every cluster has it
				}
				api.force(t, d)
				if d.Kind == object.KindNamespace {
					defer api.force(t, namespace(d.Name)) // so that no fence of this case is in the next one
				} else {
					defer owner.remove(t, d)
				}
			}
			api.putMeshConfigs(t, c, existing)
			s.configure(t, string(c.Config))
			eventually(t, fmt.Sprintf("the outcome is %s", c.Expect.Outcome), func(ctx context.Context) error {
				if found(c) && c.Old == nil && !c.Deleted() && c.Suite() == companionNameReserved {
					owner.remove(t, c.Object) // the controller makes it, too
				}
				return api.as(t, c.Writer).outcome(ctx, c)
			})
		})
	}
}

// found reports whether something must be found in the object of a case even after mutation.
func found(c cases.Case) bool {
	return c.Expect.Outcome == cases.Denied || c.Expect.Outcome == cases.Warned
}

// putMeshConfigs puts up the mesh ConfigMaps that the config of a case names for hold meshConfig, but for those that are
// part of the case, so that the hold is active.
func (a *api) putMeshConfigs(t *testing.T, c cases.Case, existing []cases.Document) {
	t.Helper()
	config, err := policy.ParseConfig(policy.Source{}, c.Config)
	if err != nil || !config.Holds.Has(policy.MeshConfig) {
		return // what is wrong with it is for others to say
	}
	for _, name := range config.MeshConfigMaps {
		if slices.ContainsFunc(append(existing, c.Object), func(d cases.Document) bool { return d.Kind == object.KindConfigMap && d.Name == name }) {
			continue
		}
		a.put(t, namespace(config.IstioNamespace))
		a.put(t, cases.Document{Kind: object.KindConfigMap, Namespace: config.IstioNamespace, Name: name, JSON: fmt.Appendf(nil,
			`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": %q, "name": %q}, "data": {"mesh": "{}"}}`, config.IstioNamespace, name)})
	}
}

func namespace(name string) cases.Document {
	return cases.Document{APIVersion: "v1", Kind: "Namespace", Name: name, JSON: fmt.Appendf(nil,
		`{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": %q}}`, name)}
}

// api writes documents of any kind.
type api struct {
	*suite
	dynamic  dynamic.Interface
	mapper   meta.RESTMapper
	warnings *warnings
}

// warnings are those that came with the last answer.
type warnings struct{ texts []string }

// HandleWarningHeaderWithContext takes one warning; the tests ask for one thing after the other.
func (w *warnings) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.texts = append(w.texts, text)
}

func newAPI(t *testing.T, s *suite) *api {
	t.Helper()
	a := &api{suite: s, warnings: &warnings{}}
	kinds, err := discovery.NewDiscoveryClientForConfig(s.Config())
	if err != nil {
		t.Fatal(err)
	}
	a.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(kinds))
	return a.as(t, "")
}

// as returns the same for another user; empty for one who has every right.
func (a *api) as(t *testing.T, user string) *api {
	t.Helper()
	config := a.Config()
	if user != "" {
		config = a.As(user, "system:masters") // only who it is counts
	}
	config.WarningHandlerWithContext = a.warnings
	dynamic, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &api{a.suite, dynamic, a.mapper, a.warnings}
}

func (a *api) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	gvk := object.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return a.dynamic.Resource(mapping.Resource), nil
	}
	return a.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace()), nil
}

// write creates or replaces an object, and returns what is stored. A status takes a request of its own, which in a dry
// run is the only one where there was none before: the object is there then, and but its status comes.
func (a *api) write(ctx context.Context, d cases.Document, dryRun ...string) (*unstructured.Unstructured, error) {
	a.warnings.texts = nil
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(d.JSON, &object.Object); err != nil {
		return nil, err
	}
	resource, err := a.resource(object)
	if err != nil {
		return nil, err
	}
	_, hasStatus := object.Object["status"]
	old, err := resource.Get(ctx, object.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && !hasStatus:
		return resource.Create(ctx, object, metav1.CreateOptions{DryRun: dryRun})
	case apierrors.IsNotFound(err):
		if old, err = resource.Create(ctx, object, metav1.CreateOptions{}); err == nil && len(dryRun) > 0 {
			defer func() { _ = resource.Delete(ctx, object.GetName(), metav1.DeleteOptions{}) }()
		}
	}
	if err != nil {
		return nil, err
	}
	object.SetResourceVersion(old.GetResourceVersion())
	if hasStatus && !reported(old) {
		return resource.UpdateStatus(ctx, object, metav1.UpdateOptions{DryRun: dryRun})
	}
	return resource.Update(ctx, object, metav1.UpdateOptions{DryRun: dryRun})
}

// reported reports whether the status of an object has addresses.
func reported(o *unstructured.Unstructured) bool {
	ingress, _, _ := unstructured.NestedSlice(o.Object, "status", "loadBalancer", "ingress")
	addresses, _, _ := unstructured.NestedSlice(o.Object, "status", "addresses")
	return len(ingress)+len(addresses) > 0
}

func (a *api) put(t *testing.T, d cases.Document) {
	t.Helper()
	if d.Kind == "Namespace" && d.Name == "" {
		return
	}
	// For a moment one replica may know of a Service that the other, which has mutated the object, does not.
	eventually(t, fmt.Sprintf("%s %s/%s is stored", d.Kind, d.Namespace, d.Name), func(ctx context.Context) error {
		_, err := a.write(ctx, d)
		return err
	})
}

// force stores what the guard may refuse, as before anything was enforced.
func (a *api) force(t *testing.T, d cases.Document) {
	t.Helper()
	_, err := a.write(t.Context(), d)
	if err == nil {
		return
	}
	if apierrors.IsInvalid(err) {
		a.configure(t, defaultConfig+"enforcement: audit\n")
	}
	a.put(t, d) // a controller of Kubernetes may have been faster, too
}

func (a *api) remove(t *testing.T, d cases.Document) {
	t.Helper()
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(d.JSON, &object.Object); err != nil {
		t.Fatal(err)
	}
	resource, err := a.resource(object)
	if err != nil {
		t.Fatal(err)
	}
	if err := resource.Delete(t.Context(), d.Name, metav1.DeleteOptions{}); client.IgnoreNotFound(err) != nil {
		t.Errorf("delete %s %s/%s: %v", d.Kind, d.Namespace, d.Name, err)
	}
}

// try writes or deletes the object of a case in a dry run.
func (a *api) try(ctx context.Context, c cases.Case) (*unstructured.Unstructured, error) {
	if !c.Deleted() {
		return a.write(ctx, c.Object, metav1.DryRunAll)
	}
	a.warnings.texts = nil
	object := &unstructured.Unstructured{}
	if err := json.Unmarshal(c.Object.JSON, &object.Object); err != nil {
		return nil, err
	}
	resource, err := a.resource(object)
	if err != nil {
		return nil, err
	}
	return object, resource.Delete(ctx, c.Object.Name, metav1.DeleteOptions{DryRun: []string{metav1.DryRunAll}})
}

// outcome says how the API server's answer differs from what the case wants.
func (a *api) outcome(ctx context.Context, c cases.Case) error {
	stored, err := a.try(ctx, c)
	if found(c) {
		refusal := "[" + c.Suite() + "]"
		warned := strings.Contains(strings.Join(a.warnings.texts, "\n"), refusal)
		waits := warned && strings.Contains(strings.Join(a.warnings.texts, "\n"), "this dry run is not refused for it")
		switch {
		case err == nil && (c.Expect.Outcome == cases.Warned && warned || waits):
			return nil
		case err == nil:
			return fmt.Errorf("accepted with the warnings %q", a.warnings.texts)
		case c.Suite() == "serviceentry-fenced-host" && c.Title == coversEverything:
			refusal = "hostname cannot be wildcard" // Istio's schema is faster
		}
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), refusal) {
			return fmt.Errorf("not refused by the rule: %w", err)
		}
		return nil
	}
	if c.Deleted() && apierrors.IsNotFound(err) {
		return nil // the controller was faster
	}
	if err != nil {
		return err
	}
	fixed := !bytes.Equal(specOf(stored.Object), specOf(c.Object.JSON))
	if c.Expect.Outcome == cases.Fixed && !fixed {
		return fmt.Errorf("stored as it was")
	}
	return nil
}

// specOf returns the spec of an object or the data of a ConfigMap, decoded or in JSON, as canonical JSON.
func specOf(object any) []byte {
	if raw, ok := object.([]byte); ok {
		var decoded map[string]any
		if err := json.Unmarshal(raw, &decoded); err != nil {
			return nil
		}
		object = decoded
	}
	root := object.(map[string]any)
	data, err := json.Marshal([]any{root["spec"], root["data"]})
	if err != nil {
		return nil
	}
	return data
}
