package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/policy/jsonerr"
	"github.com/meshfence/meshfence/splice"
)

// stdin is the path that stands for the standard input.
const stdin = "-"

// maxInput is how much of files is read in all: five times as much is held, and as much again while garbage waits.
const maxInput = 256 << 20

// place is where an object begins.
type place struct {
	// File is that of [stdin] for the standard input.
	File string
	// Line counts from 1.
	Line int
	// Item is the place in a List, such as items[2]; empty outside of one.
	Item string
}

// String returns file:line, and the item of a List.
func (p place) String() string {
	text := fmt.Sprintf("%s:%d", p.File, p.Line)
	if p.Item != "" {
		text += ": " + p.Item
	}
	return text
}

// manifest is one object of the input.
type manifest struct {
	place
	metav1.PartialObjectMetadata
	json []byte
	// document is where the object is, alone or as an item of the Lists that the indexes lead through.
	document value
	items    []int
}

func (m manifest) groupKind() schema.GroupKind {
	return schema.FromAPIVersionAndKind(m.APIVersion, m.Kind).GroupKind()
}

// notManifest says why something in a file is no Kubernetes object.
type notManifest struct {
	place
	reason string
}

// Error returns the place and the reason.
func (n *notManifest) Error() string { return n.place.String() + ": " + n.reason }

// input is what was read.
type input struct {
	manifests []manifest
	// texts are the files that hold manifests.
	texts []text
	// skipped are the parts of files in folders that are no manifests, at most one for each file.
	skipped []*notManifest
}

// text is what a file holds.
type text struct {
	file string
	data []byte
}

// readManifests reads files, folders with all that is below them, and - for in, in that order. What is no manifest is
// skipped in a folder, and an error in a file that is named. Kustomizations in a folder are built, and count in the place
// of the files that they take. More than a number of bytes in all is an error.
func readManifests(paths []string, in io.Reader, left int) (input, error) {
	var all input
	if len(paths) == 0 {
		return input{}, errors.New("--filename must name a file, a folder or -")
	}
	for _, path := range paths {
		files, found := []string{path}, kustomizations{}
		if path != stdin {
			var err error
			if files, found, err = walk(path); err != nil {
				return input{}, err
			}
		}
		all.skipped = append(all.skipped, found.rejected...)
		for _, k := range found.roots {
			manifests, rejected := k.build()
			all.manifests = append(all.manifests, manifests...)
			if rejected != nil {
				all.skipped = append(all.skipped, rejected)
			}
		}
		for _, file := range files {
			data, err := readFile(file, in, left)
			if err != nil {
				return input{}, err
			}
			left -= len(data)
			manifests, rejected := parseManifests(file, data)
			all.manifests = append(all.manifests, manifests...)
			all.texts = append(all.texts, text{file, data})
			if len(rejected) > 0 && file == path {
				return input{}, rejected[0]
			}
			all.skipped = append(all.skipped, rejected[:min(len(rejected), 1)]...)
		}
	}
	return all, nil
}

// readFile returns a file in UTF-8 without a byte order mark, unless it has more bytes than are left. What PowerShell
// redirects to a file is UTF-16. A carriage return alone, which is a line break in YAML, comes as a line feed.
func readFile(path string, in io.Reader, left int) ([]byte, error) {
	if path != stdin {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(transform.NewReader(in, unicode.BOMOverride(transform.Nop)), int64(left)+1))
	if err == nil && len(data) > left {
		err = fmt.Errorf("%s: at most %d MiB of manifests are read at once: leave out what is not of Istio, the Gateway API or Services", path, maxInput>>20)
	}
	for i, c := range data {
		if c == '\r' && (i+1 == len(data) || data[i+1] != '\n') {
			data[i] = '\n'
		}
	}
	return data, err
}

// walk returns a file itself, and of a folder every YAML and JSON file in it, sorted by path, but for those that its
// kustomizations take. In a folder a link that leads nowhere, as an editor leaves it, and what is no file, such as a pipe,
// are passed over.
func walk(path string) ([]string, kustomizations, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path += string(filepath.Separator) // so that a link to a folder is followed
	}
	var folders, files []string
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir():
			folders = append(folders, file)
		case file == path || isManifest(file):
			files = append(files, file)
		}
		return nil
	})
	found := findKustomizations(folders)
	return slices.DeleteFunc(files, func(file string) bool { return found.taken[file] }), found, err
}

// isManifest reports whether what is found in a folder is a file, or a link to one, with the name of a manifest.
func isManifest(file string) bool {
	if !slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(file)) {
		return false
	}
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// parseManifests returns the objects of a file, those of a List one by one, and what in it is none.
func parseManifests(file string, data []byte) ([]manifest, []*notManifest) {
	var manifests []manifest
	var rejected []*notManifest
	template := bytes.Contains(data, []byte("{{"))
	for _, d := range documents(data) {
		values, err := d.values()
		if err != nil {
			reason := err.Error()
			if template {
				reason = "is a template, render it first: helm template . | meshfence check -f - (" + reason + ")"
			}
			rejected = append(rejected, &notManifest{place{File: file, Line: max(d.begin(), d.line)}, reason})
		}
		for _, v := range values {
			found, bad := parseObject(manifest{place: place{File: file, Line: v.begin()}, json: v.json, document: v})
			manifests, rejected = append(manifests, found...), append(rejected, bad...)
		}
	}
	return manifests, rejected
}

// parseObject returns an object, or those of a List one by one, and what of it is none.
func parseObject(m manifest) ([]manifest, []*notManifest) {
	if err := unmarshal(m.json, &m.PartialObjectMetadata); err != nil {
		return nil, []*notManifest{{m.place, "must be a Kubernetes object: " + err.Error()}}
	}
	if m.APIVersion == "" || m.Kind == "" {
		return nil, []*notManifest{{m.place, "must have apiVersion and kind"}}
	}
	if !bytes.Contains(m.json, []byte(`"items"`)) {
		return []manifest{m}, nil
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(m.json, &list); err != nil || list.Items == nil { // a kind of its own may have other items
		return []manifest{m}, nil
	}
	var manifests []manifest
	var rejected []*notManifest
	for i, item := range list.Items {
		below := manifest{place: m.place, json: item, document: m.document, items: append(m.items[:len(m.items):len(m.items)], i)}
		below.Item = strings.TrimPrefix(fmt.Sprintf("%s.items[%d]", m.Item, i), ".")
		found, bad := parseObject(below)
		manifests, rejected = append(manifests, found...), append(rejected, bad...)
	}
	return manifests, rejected
}

// unmarshal decodes JSON, and says of a wrong type where it is and what it must be.
func unmarshal(data []byte, into any) error {
	err := json.Unmarshal(data, into)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		v := jsonerr.ValueAt(data, wrong.Offset)
		return errors.New(strings.TrimSpace(v.Path + " " + jsonerr.TypeMessage(wrong.Type, data[v.Start:v.End])))
	}
	return err
}

// lines finds the lines of fields. It keeps the nodes of one document, since the items of a List come one after the other.
type lines struct {
	document value
	root     yaml.Node
}

// of returns the line of a field, or of the nearest one above it that the file has.
func (l *lines) of(m *manifest, path []string) int {
	if len(m.document.text) == 0 { // what kustomize has built
		return m.Line
	}
	if len(l.document.text) == 0 || &l.document.text[0] != &m.document.text[0] {
		*l = lines{document: m.document}
		if yaml.Unmarshal(splice.AsYAML(m.document.text), &l.root) != nil {
			l.root = yaml.Node{}
		}
	}
	if len(l.root.Content) == 0 {
		return m.Line
	}
	var whole []string
	for _, i := range m.items {
		whole = append(whole, "items", strconv.Itoa(i))
	}
	node, line := l.root.Content[0], 0
	for _, step := range append(whole, path...) {
		if node.Kind == yaml.AliasNode {
			node = node.Alias
		}
		below, at := child(node, step)
		if below == nil {
			break
		}
		node, line = below, at
	}
	if line == 0 {
		return m.Line
	}
	return m.document.line + line - 1
}

// child returns what is in a mapping or sequence under a key or index, and its line.
func child(node *yaml.Node, step string) (below *yaml.Node, line int) {
	if node.Kind == yaml.SequenceNode {
		if i, err := strconv.Atoi(step); err == nil && i < len(node.Content) {
			return node.Content[i], node.Content[i].Line
		}
		return nil, 0
	}
	var merged *yaml.Node
	for i := 0; i+1 < len(node.Content) && node.Kind == yaml.MappingNode; i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		switch {
		case key.Value == step:
			return value, key.Line
		case key.Tag == "!!merge":
			merged = value
		}
	}
	return childOfMerged(merged, step)
}

// childOfMerged looks for a key in what << merges into a mapping: another one, an alias of one, or a list of these.
func childOfMerged(merged *yaml.Node, step string) (below *yaml.Node, line int) {
	switch {
	case merged == nil:
		return nil, 0
	case merged.Kind == yaml.AliasNode:
		return child(merged.Alias, step)
	case merged.Kind == yaml.MappingNode:
		return child(merged, step)
	}
	for _, m := range merged.Content {
		if below, line = childOfMerged(m, step); below != nil {
			break
		}
	}
	return below, line
}
