package suite

import (
	"bytes"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/object"
)

// Document is one object.
type Document struct {
	Kind, APIVersion, Namespace, Name string
	Labels, Annotations               map[string]string
	JSON                              []byte
	// Line is where it begins in the file that it was read from, counted from 1.
	Line int
	// text is the document as it was read.
	text []byte
}

// Documents reads a stream of YAML documents.
func Documents(data []byte) ([]Document, error) {
	var documents []Document
	first, start := 1, 1
	var text []byte
	take := func() error {
		d, err := parseDocument(text, first)
		if d != nil {
			documents = append(documents, *d)
		}
		return err
	}
	for line := range bytes.Lines(data) {
		start++
		if !bytes.HasPrefix(line, []byte("---")) {
			text = append(text, line...)
			continue
		}
		if rest := bytes.TrimSpace(line[3:]); len(rest) > 0 && rest[0] != '#' {
			return nil, &lineError{start - 1, fmt.Errorf("%q must be alone on its line", "---")}
		}
		if err := take(); err != nil {
			return nil, err
		}
		first, text = start, nil
	}
	return documents, take()
}

// parseDocument returns nil for a document without an object.
func parseDocument(text []byte, line int) (*Document, error) {
	asJSON, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, &lineError{line, fmt.Errorf("decode document: %w", err)}
	}
	if bytes.Equal(asJSON, []byte("null")) {
		return nil, nil
	}
	var read metav1.PartialObjectMetadata
	if err := yaml.Unmarshal(asJSON, &read); err != nil {
		return nil, &lineError{line, fmt.Errorf("decode metadata: %w", err)}
	}
	return &Document{
		Kind: object.KindIn(read.GroupVersionKind().Group, read.Kind), APIVersion: read.APIVersion, Namespace: read.Namespace, Name: read.Name,
		Labels: read.Labels, Annotations: read.Annotations, JSON: asJSON, Line: line, text: text,
	}, nil
}

// lineError is an error and the line that it is about.
type lineError struct {
	line int
	err  error
}

func (e *lineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func (e *lineError) Unwrap() error { return e.err }

// id tells objects apart that an API server keeps apart.
type id struct{ group, kind, namespace, name string }

func (d Document) id() id { return id{d.group(), d.Kind, d.Namespace, d.Name} }

func (d Document) group() string {
	if group, _, ok := strings.Cut(d.APIVersion, "/"); ok {
		return group
	}
	return ""
}

// Title is the kind, the namespace and the name of an object.
func (d Document) Title() string {
	if d.Namespace == "" {
		return object.APIKind(d.Kind) + " " + d.Name
	}
	return object.APIKind(d.Kind) + " " + d.Namespace + "/" + d.Name
}

// Index returns an index that knows the documents.
func Index(config *policy.Config, scene []Document) (*policy.Index, error) {
	index := policy.NewIndex(config)
	for _, d := range scene {
		o, err := object.Decode(d.Kind, d.JSON)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.Title(), err)
		}
		index.SetObject(o)
	}
	return index, nil
}
