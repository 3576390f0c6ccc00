package suite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Extension is that of the files that Load reads.
const Extension = ".txtar"

const (
	sceneSection  = "scene"
	storedSection = "stored"
	configKind    = "FenceConfig"
)

// Load reads every suite in a folder, in the order of the names.
func Load(fsys fs.FS) ([]Case, error) {
	files, err := fs.Glob(fsys, "*"+Extension)
	if err != nil {
		return nil, fmt.Errorf("list suites: %w", err)
	}
	var cases []Case
	for _, file := range files {
		data, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, fmt.Errorf("read suite: %w", err)
		}
		read, err := Parse(file, data)
		if err != nil {
			return nil, err
		}
		cases = append(cases, read...)
	}
	return cases, nil
}

// Parse reads the cases of a suite. A case that several configs count for comes once for each. The error joins what is
// wrong in any section, with the file and the line.
func Parse(file string, data []byte) ([]Case, error) {
	p := parser{file: file}
	archive := txtar.Parse(data)
	line := bytes.Count(archive.Comment, []byte("\n")) + 1
	for _, section := range archive.Files {
		if err := p.take(section, line); err != nil {
			at := line
			if place, ok := errors.AsType[*lineError](err); ok {
				at, err = line+place.line, place.err
			}
			p.problems = append(p.problems, fmt.Errorf("%s:%d: %w", file, at, err))
		}
		line += bytes.Count(section.Data, []byte("\n")) + 1
	}
	if len(p.cases)+len(p.problems) == 0 {
		return nil, fmt.Errorf("%s:1: must have a case: a line %q, and an object", file, "-- What it shows. --")
	}
	for _, c := range p.cases {
		if c.Expect.Outcome == "" && c.Stored == nil {
			p.problems = append(p.problems, fmt.Errorf("%s:%d: must say what is expected: a line %q, or a section %q",
				file, c.Line, "# expect: denied", "-- stored --"))
		}
	}
	return p.cases, errors.Join(p.problems...)
}

// parser is what has been read of a suite.
type parser struct {
	file     string
	config   []byte
	scene    []Document
	cases    []Case
	latest   int // how many of the cases came from the latest section
	problems []error
}

func (p *parser) take(section txtar.File, line int) error {
	head, err := parseHead(section.Data)
	if err != nil {
		return err
	}
	documents, err := Documents(section.Data)
	if err != nil {
		return err
	}
	for i := range documents {
		documents[i].Line += line
	}
	switch section.Name {
	case sceneSection:
		p.config, p.scene, err = configIn(documents)
		return err
	case storedSection:
		return p.takeStored(documents)
	}
	return p.takeCase(section.Name, line, head, documents)
}

func (p *parser) takeStored(documents []Document) error {
	if len(documents) != 1 || p.latest == 0 {
		return errors.New("must be one object, after the case that it is the result of")
	}
	for i := range p.latest {
		p.cases[len(p.cases)-1-i].Stored = &documents[0]
	}
	p.latest = 0
	return nil
}

func (p *parser) takeCase(title string, line int, head head, documents []Document) error {
	p.latest = 0
	if len(documents) == 0 {
		return errors.New("must have an object")
	}
	last := len(documents) - 1
	config, changes, err := configIn(documents[:last])
	if err != nil {
		return err
	}
	if config == nil {
		config = p.config
	}
	if config == nil {
		return errors.New("must have a FenceConfig, in the scene or in the case")
	}
	scene, err := without(p.scene, head.without)
	if err != nil {
		return err
	}
	c := Case{
		File: p.file, Line: line, Title: title, Config: config,
		Object: documents[last], Writer: head.writer, Operation: head.operation, Expect: head.expect,
	}
	c.Scene, c.Old = merged(scene, changes, c.Object)
	if len(head.configs) == 0 {
		head.configs = []string{""}
	}
	for _, patch := range head.configs {
		c.Variant = patch
		if c.Config, err = patched(config, patch); err != nil {
			return err
		}
		p.cases = append(p.cases, c)
		p.latest++
	}
	return nil
}

// configIn returns the last FenceConfig among documents, be it in its ConfigMap or not, and the others.
func configIn(documents []Document) (config []byte, others []Document, err error) {
	for _, d := range documents {
		switch {
		case d.Kind == configKind:
			config = d.text
		case d.Kind == object.KindConfigMap && d.Name == policy.ConfigMapName:
			var configMap struct{ Data map[string]string }
			if err := json.Unmarshal(d.JSON, &configMap); err != nil {
				return nil, nil, fmt.Errorf("decode %s: %w", d.Title(), err)
			}
			config = []byte(configMap.Data[policy.ConfigMapKey])
		default:
			others = append(others, d)
		}
	}
	return config, others, nil
}

// without returns a scene without the objects of these titles.
func without(scene []Document, titles []string) ([]Document, error) {
	scene = slices.Clone(scene)
	for _, title := range titles {
		i := slices.IndexFunc(scene, func(d Document) bool { return d.Title() == title })
		if i < 0 {
			return nil, fmt.Errorf("%q must be an object of the scene", title)
		}
		scene = slices.Delete(scene, i, i+1)
	}
	return scene, nil
}

// merged returns a scene with changes, apart from what the object replaces.
func merged(scene, changes []Document, object Document) (others []Document, old *Document) {
	for _, d := range changes {
		i := slices.IndexFunc(scene, func(s Document) bool { return s.id() == d.id() })
		if i < 0 {
			scene = append(scene, d)
		} else {
			scene[i] = d
		}
	}
	for _, d := range scene {
		if d.id() == object.id() {
			old = &d
		} else {
			others = append(others, d)
		}
	}
	return others, old
}

// patched returns a config after a merge patch.
func patched(config []byte, patch string) ([]byte, error) {
	if patch == "" {
		return config, nil
	}
	var root, change map[string]any
	if err := yaml.Unmarshal(config, &root); err != nil {
		return nil, fmt.Errorf("decode FenceConfig: %w", err)
	}
	if err := yaml.Unmarshal([]byte(patch), &change); err != nil {
		return nil, fmt.Errorf("decode config: %w", err)
	}
	return yaml.Marshal(mergePatch(root, change))
}

// mergePatch returns a mapping after a patch of RFC 7386.
func mergePatch(root, patch map[string]any) map[string]any {
	if root == nil {
		root = map[string]any{}
	}
	for key, value := range patch {
		change, ok := value.(map[string]any)
		switch {
		case value == nil:
			delete(root, key)
		case ok:
			below, _ := root[key].(map[string]any)
			root[key] = mergePatch(below, change)
		default:
			root[key] = value
		}
	}
	return root
}
