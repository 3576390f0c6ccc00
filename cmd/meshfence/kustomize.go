package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/krusty"
	kustomize "sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	sigsyaml "sigs.k8s.io/yaml"
)

// kustomization is a folder that kustomize builds.
type kustomization struct {
	dir, file string
	kustomize.Kustomization
}

// kustomizationIn returns the kustomization of a folder, and false where that has none, or none that can be read.
func kustomizationIn(dir string) (kustomization, bool, *notManifest) {
	dir = filepath.Clean(dir)
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		k := kustomization{dir: dir, file: filepath.Join(dir, name)}
		data, err := os.ReadFile(k.file)
		if os.IsNotExist(err) {
			continue
		}
		if err == nil {
			err = sigsyaml.Unmarshal(data, &k.Kustomization)
		}
		if err != nil {
			return kustomization{}, false, &notManifest{place{File: k.file, Line: 1}, "must be a kustomization: " + err.Error()}
		}
		// Flux has a kind of this name, too, which is an object.
		if k.APIVersion == "" || strings.HasPrefix(k.APIVersion, "kustomize.config.k8s.io/") {
			return k, true, nil
		}
	}
	return kustomization{}, false, nil
}

// parts are what a kustomization takes objects from: folders, files and addresses.
func (k kustomization) parts() []string {
	return slices.Concat(k.Resources, k.Bases, k.Components) //nolint:staticcheck // users still write bases
}

// uses returns the files and folders that a kustomization names, so that none of them counts by itself.
func (k kustomization) uses() []string {
	names := slices.Concat(k.parts(), k.Crds, k.Generators, k.Transformers, k.Validators, k.Configurations)
	for _, p := range k.PatchesStrategicMerge { //nolint:staticcheck // users still write it
		names = append(names, string(p))
	}
	for _, p := range slices.Concat(k.Patches, k.PatchesJson6902) { //nolint:staticcheck // users still write it
		names = append(names, p.Path)
	}
	for _, r := range k.Replacements {
		names = append(names, r.Path)
	}
	sources := []kustomize.KvPairSources{}
	for _, g := range k.ConfigMapGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, g := range k.SecretGenerator {
		sources = append(sources, g.KvPairSources)
	}
	for _, s := range sources {
		for _, file := range s.FileSources {
			_, path, named := strings.Cut(file, "=")
			if !named {
				path = file
			}
			names = append(names, path)
		}
		names = append(names, s.EnvSources...)
	}
	paths := []string{k.file}
	for _, name := range names {
		if name != "" && !strings.Contains(name, "\n") {
			paths = append(paths, filepath.Join(k.dir, name))
		}
	}
	return paths
}

// build returns the objects that a kustomization yields. Nothing is fetched, and no plugin runs.
func (k kustomization) build() ([]manifest, *notManifest) {
	fail := func(reason string) ([]manifest, *notManifest) {
		return nil, &notManifest{place{File: k.file, Line: 1}, fmt.Sprintf("%s; build it first: kustomize build %s | meshfence check -f -", reason, k.dir)}
	}
	if absent := k.absent(map[string]bool{}); absent != "" {
		return fail(fmt.Sprintf("takes %s, which is not here", absent))
	}
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(withOrigins{filesys.MakeFsOnDisk(), k.file}, k.dir)
	if err != nil {
		return fail(err.Error())
	}
	var manifests []manifest
	for _, r := range resources.Resources() {
		from := k.file
		if origin, err := r.GetOrigin(); err == nil && origin != nil && origin.Path != "" {
			from = filepath.Join(k.dir, origin.Path)
		}
		if err := r.SetOrigin(nil); err != nil {
			return fail(err.Error())
		}
		object, err := r.MarshalJSON()
		if err != nil {
			return fail(err.Error())
		}
		found, rejected := parseObject(manifest{place: place{File: from, Line: 1}, json: object})
		if len(rejected) > 0 {
			return nil, rejected[0]
		}
		manifests = append(manifests, found...)
	}
	return manifests, nil
}

// absent returns something that the kustomization, or one that it takes, needs and that no file or folder is.
func (k kustomization) absent(seen map[string]bool) string {
	seen[k.dir] = true
	for _, part := range k.parts() {
		path := filepath.Join(k.dir, part)
		info, err := os.Stat(path)
		switch {
		case err != nil && strings.Contains(part, "\n"): // an object in the kustomization itself
		case err != nil:
			return part
		case info.IsDir() && !seen[path]:
			below, ok, _ := kustomizationIn(path)
			if !ok {
				continue // kustomize says what is wrong
			}
			if name := below.absent(seen); name != "" {
				return name
			}
		}
	}
	return ""
}

// withOrigins is a file system in which a kustomization asks for the origins of its objects.
type withOrigins struct {
	filesys.FileSystem
	kustomization string
}

// ReadFile reads a file.
func (f withOrigins) ReadFile(path string) ([]byte, error) {
	data, err := f.FileSystem.ReadFile(path)
	asked, absErr := filepath.Abs(f.kustomization)
	if err != nil || absErr != nil || path != asked && path != f.kustomization || bytes.Contains(data, []byte("buildMetadata")) {
		return data, err
	}
	return append(data, "\nbuildMetadata: ["+kustomize.OriginAnnotations+"]\n"...), nil
}

// kustomizations are the folders of a tree that are built, the files in it that kustomizations take, and the
// kustomizations that cannot be read.
type kustomizations struct {
	roots    []kustomization
	taken    map[string]bool
	rejected []*notManifest
}

// findKustomizations looks in folders, given in the order of a walk. One that another takes is not built by itself.
func findKustomizations(folders []string) kustomizations {
	found := kustomizations{taken: map[string]bool{}}
	var all []kustomization
	for _, dir := range folders {
		k, ok, rejected := kustomizationIn(dir)
		if rejected != nil {
			found.rejected = append(found.rejected, rejected)
			found.taken[rejected.File] = true
		}
		if !ok {
			continue
		}
		all = append(all, k)
		for _, path := range k.uses() {
			found.taken[path] = true
		}
	}
	for _, k := range all {
		if !found.taken[k.dir] && k.Kind != kustomize.ComponentKind {
			found.roots = append(found.roots, k)
		}
	}
	return found
}
