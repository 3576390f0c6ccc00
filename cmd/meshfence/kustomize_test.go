package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// The tests that build kustomizations do not run in parallel: kustomize shares its schema, and the program builds one
// after the other.

// kustomized writes a base, an overlay with patches and a component, and manifests beside them.
func kustomized(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"base/kustomization.yaml":         "resources: [service.yaml, rule.yaml]\nconfigMapGenerator:\n- {name: a, files: [b=settings.yaml]}\n",
		"base/service.yaml":               fencedService,
		"base/rule.yaml":                  plainRule,
		"base/settings.yaml":              "a: b\n",
		"overlays/prod/kustomization.yml": "namespace: shop\nresources: [../../base]\ncomponents: [../../leaky]\npatches:\n- path: patch.yaml\n",
		// Judged as an object, this would let clients of another namespace out.
		"overlays/prod/patch.yaml":  "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {ports: [{name: http, port: 80}]}\n",
		"leaky/kustomization.yaml":  "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\npatches:\n- path: tunnel.yaml\n",
		"leaky/tunnel.yaml":         strings.ReplaceAll(leakyRule, "name: leaky", "name: reviews"),
		"remote/kustomization.yaml": "resources: [\"https://github.com/a/b//c?ref=v1\"]\n",
		"broken/kustomization.yaml": "resources: {{ .Values.all }}\n",
		"flux/kustomization.yaml":   "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: shop}\n",
		"plain/entry.yaml":          "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: it}, spec: {hosts: [reviews.shop.svc.cluster.local]}}",
	} {
		write(t, dir, name, content)
	}
	return dir
}

// A folder is judged as kustomize builds it: the overlay, and no patch and no base by itself.
func TestCheckKustomization(t *testing.T) {
	dir := kustomized(t)
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	code, stdout, stderr := meshfence(t, "", "check", "-f", dir+"/./", "--config", config)
	var found []string
	for line := range strings.Lines(stdout) {
		place, _, _ := strings.Cut(strings.TrimPrefix(line, dir), ": must")
		found = append(found, place)
	}
	want := []string{
		"/base/rule.yaml:1: deny: DestinationRule shop/reviews: spec.trafficPolicy.tunnel",
		"/plain/entry.yaml:1: deny: ServiceEntry default/it: spec.hosts[0]",
	}
	if diff := cmp.Diff(want, found); code != exitDenied || diff != "" {
		t.Errorf("exit code %d, findings (-want +got):\n%s%s", code, diff, stderr)
	}
	for _, want := range []string{
		"read 5 objects", "files skipped: 2", "broken/kustomization.yaml:1: must be a kustomization: ",
		"takes https://github.com/a/b//c?ref=v1, which is not here; build it first: kustomize build " + filepath.Join(dir, "remote") + " | meshfence check -f -",
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("stderr lacks %q:\n%s", want, stderr)
		}
	}
	if code, _, _ := meshfence(t, "", "check", "--strict", "-f", dir, "--config", config); code != exitError {
		t.Errorf("strict: exit code %d, want %d", code, exitError)
	}
}

// What kustomize makes of files is nothing to write into them.
func TestRenderWriteLeavesKustomizations(t *testing.T) {
	dir := kustomized(t)
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	if _, stdout, stderr := meshfence(t, "", "render", "--write", "-f", dir, "--config", config); stdout != "" {
		t.Errorf("wrote %s\n%s", stdout, stderr)
	}
	if _, stdout, _ := meshfence(t, "", "render", "-f", dir, "--config", config); !strings.Contains(stdout, "name: meshfence-local") || strings.Contains(stdout, "config.kubernetes.io/origin") {
		t.Errorf("rendered:\n%s", stdout)
	}
}

// Kustomize itself runs the function, with the settings of docs/gitops.md.
func TestKRMInKustomize(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	fences := fmt.Sprintf(`metadata:
  name: fences
  annotations:
    config.kubernetes.io/function: |
      exec: {path: %q, args: [krm], envs: [%s=1]}
`, program, asProgram) + fenceConfig
	for name, test := range map[string]struct{ rule, want, err string }{
		"stored as admission would": {rule: plainRule, want: "name: meshfence-local"},
		"denied":                    {rule: leakyRule, err: "execute function: exit status 1"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "kustomization.yaml", "resources: [service.yaml, rule.yaml]\ntransformers: [fences.yaml]\n")
			write(t, dir, "service.yaml", fencedService)
			write(t, dir, "rule.yaml", test.rule)
			write(t, dir, "fences.yaml", fences)
			options := krusty.MakeDefaultOptions()
			options.PluginConfig = kustomize.EnabledPluginConfig(kustomize.BploUseStaticallyLinked)
			options.PluginConfig.FnpLoadingOptions.EnableExec = true
			built, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Errorf("built without an error that holds %q: %v", test.err, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			text, err := built.AsYaml()
			if err != nil || !strings.Contains(string(text), test.want) || !strings.Contains(string(text), "meshfence.io/fenced: strict") {
				t.Errorf("%v\n%s", err, text)
			}
		})
	}
}
