package object_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy/object"
)

// TestDecodeFixtures: every object of the cases of rules and edits reads the same in one pass, and by the library, to which
// an escape in the name of a field leaves it.
func TestDecodeFixtures(t *testing.T) {
	t.Parallel()
	decoded := 0
	for _, text := range append(fixtures(t, "leak"), fixtures(t, "inject")...) {
		for document := range strings.SplitSeq(text, "\n---\n") {
			var head struct{ APIVersion, Kind string }
			if yaml.Unmarshal([]byte(document), &head) != nil {
				continue // what is expected, and no object
			}
			group, _, _ := strings.Cut(head.APIVersion, "/")
			kind := object.KindIn(group, head.Kind)
			if _, ok := object.TypeOf(kind); !ok {
				continue
			}
			data, err := yaml.YAMLToJSON([]byte(document))
			if err != nil {
				t.Fatal(err)
			}
			got, err := object.Decode(kind, data)
			want, wantErr := object.Decode(kind, bytes.Replace(data, []byte(`"metadata"`), []byte(`"metadat\u0061"`), 1))
			if diff := cmp.Diff(want, got); diff != "" || fmt.Sprint(err) != fmt.Sprint(wantErr) {
				t.Errorf("%s: error %v, want %v (-want +got):\n%s", data, err, wantErr, diff)
			}
			decoded++
		}
	}
	if decoded < 1000 {
		t.Errorf("%d objects are read, want all of the cases", decoded)
	}
}

// fixtures returns the sections of all files of cases in a package.
func fixtures(t *testing.T, name string) []string {
	t.Helper()
	var sections []string
	err := fs.WalkDir(os.DirFS(".."), name+"/testdata", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".txtar" {
			return err
		}
		archive, err := txtar.ParseFile(filepath.Join("..", path))
		if err != nil {
			return err
		}
		for _, f := range archive.Files {
			sections = append(sections, string(f.Data))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return sections
}
