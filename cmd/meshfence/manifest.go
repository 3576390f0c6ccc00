package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// manifest is one object of the input.
type manifest struct {
	// source is the file, and the number of the document in it where there are several.
	source string
	metav1.PartialObjectMetadata
	json []byte
}

func (m manifest) groupKind() schema.GroupKind {
	return schema.FromAPIVersionAndKind(m.APIVersion, m.Kind).GroupKind()
}

// readManifests reads files, folders with all that is below them, and - for in, in that order.
func readManifests(paths []string, in io.Reader) ([]manifest, error) {
	var manifests []manifest
	for _, path := range paths {
		files := []string{path}
		if path != "-" {
			var err error
			if files, err = filesBelow(path); err != nil {
				return nil, err
			}
		}
		for _, file := range files {
			data, err := readFile(file, in)
			if err != nil {
				return nil, err
			}
			found, err := parseManifests(file, data)
			if err != nil {
				return nil, err
			}
			manifests = append(manifests, found...)
		}
	}
	return manifests, nil
}

func readFile(path string, in io.Reader) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(in)
	}
	return os.ReadFile(path)
}

// filesBelow returns a file itself, and of a folder every YAML and JSON file in it, sorted by path.
func filesBelow(path string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		manifest := slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file))
		if !entry.IsDir() && (file == path || manifest) {
			files = append(files, file)
		}
		return nil
	})
	return files, err
}

// parseManifests splits a file into its objects; a List comes out as its items.
func parseManifests(file string, data []byte) ([]manifest, error) {
	var manifests []manifest
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for number := 1; ; number++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return manifests, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		source := fmt.Sprintf("%s: document %d", file, number)
		asJSON, err := sigsyaml.YAMLToJSONStrict(document)
		if err != nil {
			return nil, fmt.Errorf("%s: %s", source, strings.TrimPrefix(err.Error(), "yaml: "))
		}
		if string(asJSON) == "null" {
			continue
		}
		found, err := parseObject(source, asJSON)
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, found...)
	}
}

func parseObject(source string, asJSON []byte) ([]manifest, error) {
	m := manifest{source: source, json: asJSON}
	if err := json.Unmarshal(asJSON, &m.PartialObjectMetadata); err != nil {
		return nil, fmt.Errorf("%s: must be a Kubernetes object: %w", source, err)
	}
	if m.APIVersion == "" || m.Kind == "" {
		return nil, fmt.Errorf("%s: must have apiVersion and kind", source)
	}
	if !strings.HasSuffix(m.Kind, "List") {
		return []manifest{m}, nil
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(asJSON, &list); err != nil {
		return nil, fmt.Errorf("%s: items: %w", source, err)
	}
	var manifests []manifest
	for i, item := range list.Items {
		found, err := parseObject(fmt.Sprintf("%s: items[%d]", source, i), item)
		if err != nil {
			return nil, err
		}
		manifests = append(manifests, found...)
	}
	return manifests, nil
}
