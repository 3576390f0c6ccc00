// Command image puts binaries of meshfence, one for each platform, into an OCI image layout: an index with one image of
// one layer each. It needs no daemon, no registry and no base. The same arguments and binaries give the same bytes: the
// only time in it is that of the commit, which comes in as SOURCE_DATE_EPOCH.
//
//	image -out FOLDER -version VERSION -revision COMMIT OS/ARCHITECTURE=BINARY...
//
// It prints the digest of the index.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is also that of the Dockerfile and of the Deployment; by number, since runAsNonRoot does not resolve names.
const user = "65532:65532"

// facts are what the image says of itself.
type facts struct {
	version, revision string
	created           time.Time
}

func main() {
	var says facts
	out := flag.String("out", "", "the folder to write; what is there is replaced")
	flag.StringVar(&says.version, "version", "", "the version")
	flag.StringVar(&says.revision, "revision", "", "the commit")
	flag.Parse()
	if err := run(*out, says, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "image: %v\n", err)
		os.Exit(1)
	}
}

func run(out string, says facts, args []string) error {
	seconds, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil {
		return fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	says.created = time.Unix(seconds, 0).UTC()
	if out == "" || says.version == "" || says.revision == "" || len(args) == 0 {
		return fmt.Errorf("want -out, -version, -revision and OS/ARCHITECTURE=BINARY..., got %q", os.Args[1:])
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arg := range args {
		name, binary, _ := strings.Cut(arg, "=")
		platform, err := v1.ParsePlatform(name)
		if err != nil {
			return err
		}
		image, err := build(*platform, binary, says)
		if err != nil {
			return fmt.Errorf("%s: %w", arg, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	index = mutate.Annotations(index, says.labels()).(v1.ImageIndex)
	return write(out, index, says.version)
}

// write replaces the layout in a folder and prints the digest of the index.
func write(out string, index v1.ImageIndex, tag string) error {
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	path, err := layout.Write(out, empty.Index)
	if err != nil {
		return err
	}
	names := map[string]string{"org.opencontainers.image.ref.name": tag}
	if err := path.AppendIndex(index, layout.WithAnnotations(names)); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	fmt.Println(digest)
	return nil
}

// labels are those of the OCI image spec; the Dockerfile has the same.
func (f facts) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "meshfence",
		"org.opencontainers.image.description": "Keeps the traffic of chosen Services inside their own cluster, in a multi-cluster Istio mesh",
		"org.opencontainers.image.source":      "https://github.com/meshfence/meshfence",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     f.version,
		"org.opencontainers.image.revision":    f.revision,
	}
}

// build makes the image of one platform.
func build(platform v1.Platform, binary string, says facts) (v1.Image, error) {
	layer, err := layerOf(binary, says.created)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err = mutate.Append(image, mutate.Addendum{
		Layer:     layer,
		MediaType: types.OCILayer,
		History:   v1.History{Created: v1.Time{Time: says.created}, CreatedBy: "hack/tools/image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Variant = platform.OS, platform.Architecture, platform.Variant
	config.Created = v1.Time{Time: says.created}
	config.Config = v1.Config{User: user, Entrypoint: []string{"/meshfence"}, Labels: says.labels()}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	return mutate.Annotations(image, says.labels()).(v1.Image), nil
}

// layerOf makes the layer, which holds the binary alone.
func layerOf(binary string, modified time.Time) (v1.Layer, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	header := &tar.Header{Name: "meshfence", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(content)), ModTime: modified}
	if err := w.WriteHeader(header); err != nil {
		return nil, err
	}
	if _, err := w.Write(content); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
}
