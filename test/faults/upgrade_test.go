package faults_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

const helmTool = "helm"

// upgrader is a way to install the release before this tree, this tree over it, and that release again.
type upgrader struct {
	name, overlay              string
	fast                       bool
	install, upgrade, rollback func(context.Context, *bed) error
}

// TestUpgrade: from the release before this tree and back, while Pods of both are side by side, each write has the outcome
// that it always has, and the FenceConfig stays in force.
func TestUpgrade(t *testing.T) {
	release, err := testbed.Previous()
	if err != nil {
		t.Fatal(err)
	}
	old, from := release.Program(), release.Name
	if old == "" {
		from += ", its manifests alone"
		t.Logf("the program of %s is not run, and that of this tree in its place: it takes -full; %s", release.Name, release.Missing())
	}
	var rows []row
	t.Cleanup(func() { t.Log("\n" + table(rows)) })
	for _, u := range upgraders(t, release) {
		if !u.fast && !*full {
			continue
		}
		t.Run(u.name, func(t *testing.T) {
			b, err := newCluster(t.Context(), u.overlay)
			if err != nil {
				t.Fatal(err)
			}
			o := testbed.Installation{Program: old, Manifests: func(ctx context.Context) error { return u.install(ctx, b) }}
			if err := b.install(t.Context(), o); err != nil {
				b.Stop()
				t.Fatal(err)
			}
			defer b.stop()
			current, err := testbed.Tool(testbed.ToolMeshfence)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range []fault{
				{name: "upgrade by " + u.name + " from " + from, strike: replaced(u.upgrade, current)},
				{name: "rollback by " + u.name + " to " + from, strike: replaced(u.rollback, old)},
			} {
				f.within, f.recovered, f.said = 40*time.Second, inForce, []sign{logged(`"leading"`)}
				rows = append(rows, f.run(t, b))
			}
			if t.Failed() {
				t.Log(b.meshfence.Logs(20))
			}
		})
	}
}

// replaced applies manifests, and has the Pods replaced by those of a program.
func replaced(apply func(context.Context, *bed) error, program string) func(context.Context, *bed) error {
	return func(ctx context.Context, b *bed) error {
		return b.unsupervised(ctx, func() error {
			if err := apply(ctx, b); err != nil {
				return err
			}
			return b.meshfence.Rollout(ctx, program)
		})
	}
}

// upgraders are the ways to install, as docs/operations.md has them. Each names the image that the Pods run, which differs.
func upgraders(t *testing.T, release testbed.Release) []upgrader {
	t.Helper()
	var all []upgrader
	for _, overlay := range []string{selfSigned, certManager} {
		of, err := release.Overlay(overlay, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		old, current := tagged(t, of, "previous"), tagged(t, filepath.Join("..", "..", "manifests", "overlays", overlay), "current")
		apply := func(folder string) func(context.Context, *bed) error {
			return func(ctx context.Context, b *bed) error {
				_, _, err := b.Kubectl(ctx, "", "apply", "-k", folder)
				return err
			}
		}
		all = append(all, upgrader{"kustomize, " + overlay, overlay, overlay == selfSigned, apply(old), apply(current), apply(old)})
	}
	chart, err := release.Chart(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	helm := func(args ...string) func(context.Context, *bed) error {
		args = append(args, "--namespace="+install)
		return func(ctx context.Context, b *bed) error { return b.helm(ctx, t.TempDir(), args...) }
	}
	return append(all, upgrader{
		name: "chart", overlay: selfSigned,
		install:  helm("install", meshfence, chart, "--create-namespace", "--set=image.tag=previous"),
		upgrade:  helm("upgrade", meshfence, filepath.Join("..", "..", "charts", "meshfence"), "--set=image.tag=current"),
		rollback: helm("rollback", meshfence, "1"),
	})
}

// tagged makes a kustomization of an overlay with a tag of the image, as users do, and returns its folder.
func tagged(t *testing.T, overlay, tag string) string {
	t.Helper()
	dir := t.TempDir()
	overlay, err := filepath.Abs(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if overlay, err = filepath.Rel(dir, overlay); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("resources: [%s]\nimages: [{name: meshfence/meshfence, newTag: %s}]\n", overlay, tag)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// helm runs helm with nothing of whoever runs the test.
func (b *bed) helm(ctx context.Context, home string, args ...string) error {
	path, err := testbed.Tool(helmTool)
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, path, args...)
	command.Env = []string{"HOME=" + home, "KUBECONFIG=" + b.Kubeconfig}
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("helm %v: %w\n%s", args, err, out)
	}
	return nil
}
