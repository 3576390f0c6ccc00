package manifests_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/yaml"
)

// sbomTool is what hack/release.sh lists modules with.
const sbomTool = "sbom"

// makeRelease runs make release for this platform and returns its files.
func makeRelease(t *testing.T) (folder string, files map[string][]byte) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "release")
	here := "linux-" + runtime.GOARCH
	cmd := exec.CommandContext(t.Context(), "make", "-s", "release", "RELEASE="+folder, "IMAGE="+filepath.Join(t.TempDir(), "image"),
		"PLATFORMS="+here, "RELEASED="+here, "VERSION=v1.2.3", "REVISION=abc", "EPOCH=86400")
	cmd.Dir = filepath.Join("..", "..")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make release: %v\n%s", err, output)
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	files = map[string][]byte{}
	for _, entry := range entries {
		if files[entry.Name()], err = os.ReadFile(filepath.Join(folder, entry.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return folder, files
}

// A release has everything, each with its checksum, and is the same whoever makes it.
func TestRelease(t *testing.T) {
	folder, files := makeRelease(t)
	archive := "meshfence-v1.2.3-linux-" + runtime.GOARCH + ".tar.gz"
	const chart, bom = "meshfence-1.2.3.tgz", "meshfence-v1.2.3.cdx.json"
	want := []string{"SHA256SUMS", "krew.yaml", chart, "meshfence-v1.2.3-image.tar", archive, bom}
	if diff := cmp.Diff(slices.Sorted(slices.Values(want)), slices.Sorted(maps.Keys(files))); diff != "" {
		t.Fatalf("files (-want +got):\n%s", diff)
	}
	var sums bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if name != "SHA256SUMS" {
			fmt.Fprintf(&sums, "%x  %s\n", sha256.Sum256(files[name]), name)
		}
	}
	if diff := cmp.Diff(sums.String(), string(files["SHA256SUMS"])); diff != "" {
		t.Errorf("checksums (-want +got):\n%s", diff)
	}
	var plugin struct {
		Spec struct {
			Version   string
			Platforms []struct{ URI, SHA256, Bin string }
		}
	}
	if err := yaml.Unmarshal(files["krew.yaml"], &plugin); err != nil {
		t.Fatal(err)
	}
	for _, p := range plugin.Spec.Platforms {
		if want := fmt.Sprintf("%x", sha256.Sum256(files[filepath.Base(p.URI)])); p.SHA256 != want || p.Bin != "meshfence" {
			t.Errorf("krew installs %s of %s with checksum %s, want %s", p.Bin, p.URI, p.SHA256, want)
		}
	}
	if len(plugin.Spec.Platforms) != 1 || plugin.Spec.Version != "v1.2.3" {
		t.Errorf("krew knows version %s for %d platforms", plugin.Spec.Version, len(plugin.Spec.Platforms))
	}
	if packed := contents(t, filepath.Join(folder, archive)); packed != "LICENSE kubectl_complete-meshfence meshfence" {
		t.Errorf("%s has %s", archive, packed)
	}
	out, err := helm(t, "", "", "template", "meshfence", filepath.Join(folder, chart))
	if err != nil {
		t.Fatal(err)
	}
	if image := only[*appsv1.Deployment](t, objects(t, out)).Spec.Template.Spec.Containers[0].Image; !strings.HasSuffix(image, ":v1.2.3") {
		t.Errorf("the chart installs %s", image)
	}
	var components struct{ Components []struct{ Name string } }
	if err := json.Unmarshal(files[bom], &components); err != nil || len(components.Components) == 0 {
		t.Errorf("the SBOM lists %d modules: %v", len(components.Components), err)
	}
	if _, again := makeRelease(t); !bytes.Equal(files["SHA256SUMS"], again["SHA256SUMS"]) {
		t.Errorf("made again:\n%s", cmp.Diff(string(files["SHA256SUMS"]), string(again["SHA256SUMS"])))
	}
}

// contents lists what an archive has.
func contents(t *testing.T, archive string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "tar", "--list", "--file", archive).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(out)), " ")
}
