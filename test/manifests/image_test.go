package manifests_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
)

// imageTool is what make image runs.
const imageTool = "image"

// descriptor, manifest and config are the parts of the OCI image spec that are looked at.
type descriptor struct {
	Digest      string            `json:"digest"`
	Annotations map[string]string `json:"annotations"`
	Platform    *platform         `json:"platform"`
}

type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
}

type manifest struct {
	Manifests   []descriptor      `json:"manifests"`
	Config      descriptor        `json:"config"`
	Layers      []descriptor      `json:"layers"`
	Annotations map[string]string `json:"annotations"`
}

type config struct {
	platform
	Created string `json:"created"`
	Config  struct {
		User       string
		Entrypoint []string
		Labels     map[string]string
	} `json:"config"`
}

// makeImage runs make image for this platform and returns the folder of the layout.
func makeImage(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image")
	cmd := exec.CommandContext(t.Context(), "make", "-s", "image", "IMAGE="+out, "PLATFORMS=linux-"+runtime.GOARCH, "VERSION=v1.2.3", "REVISION=abc", "EPOCH=86400")
	cmd.Dir = filepath.Join("..", "..")
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("make image: %v\n%s", err, output)
	}
	return out
}

// blob decodes what a digest names.
func blob[T any](t *testing.T, layout, digest string) T {
	t.Helper()
	return decoded[T](t, filepath.Join(layout, "blobs", strings.Replace(digest, ":", "/", 1)))
}

func decoded[T any](t *testing.T, path string) T {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out T
	if err := json.Unmarshal(raw, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// The image says what it is, runs as the user of the Deployment, and is the same whoever builds it, where and when. It does
// not run beside TestRelease, which builds the same binary.
func TestImage(t *testing.T) {
	layout := makeImage(t)
	tag := decoded[manifest](t, filepath.Join(layout, "index.json")).Manifests[0]
	if diff := cmp.Diff(map[string]string{"org.opencontainers.image.ref.name": "v1.2.3"}, tag.Annotations); diff != "" {
		t.Errorf("tag (-want +got):\n%s", diff)
	}
	index := blob[manifest](t, layout, tag.Digest)
	here := platform{OS: "linux", Architecture: runtime.GOARCH}
	if diff := cmp.Diff([]*platform{&here}, []*platform{index.Manifests[0].Platform}); diff != "" {
		t.Errorf("platform (-want +got):\n%s", diff)
	}
	image := blob[manifest](t, layout, index.Manifests[0].Digest)
	got := blob[config](t, layout, image.Config.Digest)
	security := one[*appsv1.Deployment](t, "self-signed").Spec.Template.Spec.SecurityContext
	if want := fmt.Sprintf("%d:%d", *security.RunAsUser, *security.RunAsGroup); got.Config.User != want {
		t.Errorf("user %s, want %s as in the Deployment", got.Config.User, want)
	}
	if diff := cmp.Diff([]string{"/meshfence"}, got.Config.Entrypoint); diff != "" {
		t.Errorf("entrypoint (-want +got):\n%s", diff)
	}
	if got.platform != here || got.Created != "1970-01-02T00:00:00Z" {
		t.Errorf("made for %v at %s", got.platform, got.Created)
	}
	labels := got.Config.Labels
	for name, want := range map[string]string{"title": "meshfence", "version": "v1.2.3", "revision": "abc", "licenses": "Apache-2.0"} {
		if got := labels["org.opencontainers.image."+name]; got != want {
			t.Errorf("label %s is %q, want %q", name, got, want)
		}
	}
	for name, annotations := range map[string]map[string]string{"the index": index.Annotations, "the image": image.Annotations} {
		if diff := cmp.Diff(labels, annotations); diff != "" {
			t.Errorf("annotations of %s (-labels +annotations):\n%s", name, diff)
		}
	}
	for _, label := range dockerLabels(t) {
		name, value, _ := strings.Cut(label, "=")
		value = strings.NewReplacer(`"`, "", "$VERSION", "v1.2.3", "$REVISION", "abc").Replace(value)
		if labels[name] != value {
			t.Errorf("label %s is %q, in the Dockerfile %q", name, labels[name], value)
		}
	}
	again := decoded[manifest](t, filepath.Join(makeImage(t), "index.json"))
	if diff := cmp.Diff(tag.Digest, again.Manifests[0].Digest); diff != "" {
		t.Errorf("built again (-first +second):\n%s", diff)
	}
}

func readDockerfile(t *testing.T) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// dockerLabels returns the labels that the Dockerfile sets, as name="value".
func dockerLabels(t *testing.T) []string {
	t.Helper()
	found := regexp.MustCompile(`org\.opencontainers\.image\.\w+="[^"]*"`).FindAllString(readDockerfile(t), -1)
	if len(found) == 0 {
		t.Fatal("the Dockerfile sets no label")
	}
	return found
}

// The Dockerfile builds what the Makefile builds, with the toolchain of go.mod, for the same user.
func TestDockerfile(t *testing.T) {
	t.Parallel()
	dockerfile := readDockerfile(t)
	first := func(expression, text string) string {
		t.Helper()
		found := regexp.MustCompile(expression).FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("%s is not in\n%s", expression, text)
		}
		return found[1]
	}
	cmd := exec.CommandContext(t.Context(), "make", "-n", "bin/linux-amd64/meshfence", "VERSION=$$VERSION", "REVISION=$$REVISION")
	cmd.Dir = filepath.Join("..", "..")
	recipe, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	const build = `(CGO_ENABLED=0 .*go build .*) -o \S+ ./cmd/meshfence`
	want := first(build, string(recipe))
	got := strings.Replace(first(build, dockerfile), "GOOS=$TARGETOS GOARCH=$TARGETARCH ", "", 1)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("command (-Makefile +Dockerfile):\n%s", diff)
	}
	gomod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	if want, got := first(`toolchain go(\S+)`, string(gomod)), first(`golang:(\S+) AS build`, dockerfile); got != want {
		t.Errorf("the Dockerfile builds with Go %s, want %s as in go.mod", got, want)
	}
	security := one[*appsv1.Deployment](t, "self-signed").Spec.Template.Spec.SecurityContext
	if want, got := fmt.Sprintf("%d:%d", *security.RunAsUser, *security.RunAsGroup), first(`USER (\S+)`, dockerfile); got != want {
		t.Errorf("user %s, want %s as in the Deployment", got, want)
	}
}
