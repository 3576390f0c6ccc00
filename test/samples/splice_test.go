package samples_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
	"github.com/meshfence/meshfence/splice"
)

// TestSplice fences everything, and has every sample written as admission would store it. Only text is added, so that
// what was there is still there, in its order; nothing is added to what has been written so, and when it is taken
// back, the text is what it was, byte by byte.
func TestSplice(t *testing.T) {
	t.Parallel()
	for _, c := range corpora() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			samples := c.read(t)
			for _, holds := range []string{"locality", "subset"} {
				index := indexOf(t, strings.Replace(fmt.Sprintf(nothing, holds), "holds", "scope: {default: strict}, holds", 1), samples)
				written := 0
				for _, text := range c.texts(t) {
					if writeSample(t, text, index) {
						written++
					}
				}
				if c.folder == "samples" && written < 50 {
					t.Errorf("%s: %d documents change, want at least 50", holds, written)
				}
				t.Logf("%s: %d of %d documents change", holds, written, len(c.texts(t)))
			}
		})
	}
}

// texts returns the documents of a corpus that hold one guarded object each.
func (c corpus) texts(t *testing.T) [][]byte {
	t.Helper()
	var texts [][]byte
	err := filepath.WalkDir(c.dir(t), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		for part := range bytes.SplitSeq(data, []byte("\n---")) {
			texts = append(texts, part)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return texts
}

// writeSample reports whether admission adds something to a document.
func writeSample(t *testing.T, text []byte, index *policy.Index) bool {
	t.Helper()
	stored, ok := store(t, text, index)
	if !ok {
		return false
	}
	written, err := splice.Document(text, stored)
	if err != nil {
		t.Errorf("%v\n%s", err, text)
		return false
	}
	if !isWithin(text, written) {
		t.Errorf("something is gone from\n%s\nwhich is now\n%s", text, written)
	}
	if again, ok := store(t, written, index); ok && !bytes.Equal(again, stored) {
		t.Errorf("written twice it differs:\n%s\n%s", stored, again)
	}
	back, err := splice.Document(written, original(t, text))
	if err != nil || !bytes.Equal(back, text) {
		t.Errorf("taken back: %v\n%s\nit was\n%s", err, back, text)
	}
	return !bytes.Equal(text, written)
}

// original returns the one object of a document.
func original(t *testing.T, text []byte) []byte {
	t.Helper()
	documents, err := suite.Documents(text)
	if err != nil {
		t.Fatal(err)
	}
	return documents[0].JSON
}

// store returns what admission would store of the object in a document; false where it holds none that is changed.
func store(t *testing.T, text []byte, index *policy.Index) ([]byte, bool) {
	t.Helper()
	documents, err := suite.Documents(text)
	if err != nil || len(documents) != 1 || documents[0].Kind == "List" {
		return nil, false
	}
	d := documents[0]
	group, _, grouped := strings.Cut(d.APIVersion, "/")
	if !grouped {
		group = ""
	}
	route, ok := admit.KindFor(group, d.Kind)
	if !ok || !route.Mutate || route.Kind == object.KindConfigMap {
		return nil, false
	}
	namespace := d.Namespace
	if namespace == "" {
		namespace = "default"
	}
	edits, err := admit.Mutate(admit.Request{Kind: route.Kind, Namespace: namespace, Raw: d.JSON}, index.View())
	if err != nil {
		return nil, false // TestNotInTheWay says what is wrong with it
	}
	stored, err := admit.Apply(d.JSON, edits)
	if err != nil {
		t.Fatal(err)
	}
	return stored, true
}

// isWithin reports whether all of a text is in another, in its order.
func isWithin(text, other []byte) bool {
	at := 0
	for _, c := range other {
		if at < len(text) && text[at] == c {
			at++
		}
	}
	return at == len(text)
}
