package main

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"a link to a file":             {map[string]string{"README.md": "see [docs](docs/a.md)", "docs/a.md": ""}, nil},
		"a link to a folder":           {map[string]string{"README.md": "see [docs](docs)", "docs/a.md": ""}, nil},
		"a link to another site":       {map[string]string{"README.md": "see [it](https://example.com/a.md)"}, nil},
		"a link to nothing":            {map[string]string{"README.md": "\nsee [docs](docs/b.md)", "docs/a.md": ""}, []string{"README.md:2: docs/b.md leads to no file"}},
		"a link from below":            {map[string]string{"README.md": "", "docs/a.md": "[up](../README.md) [down](README.md)"}, []string{"docs/a.md:1: README.md leads to no file"}},
		"a link to a heading":          {map[string]string{"a.md": "[b](b.md#what-is-b)", "b.md": "# What is B?"}, nil},
		"a link to an id":              {map[string]string{"a.md": "[b](b.md#b8)", "b.md": `| <a id="b8"></a>B8 |`}, nil},
		"a link to no place":           {map[string]string{"a.md": "[b](b.md#b9)", "b.md": `| <a id="b8"></a>B8 |`}, []string{"a.md:1: b.md#b9 leads to no place in b.md"}},
		"a comment that cites a page":  {map[string]string{"x/a.go": "// as docs/a.md says.", "docs/a.md": ""}, nil},
		"a comment that cites nothing": {map[string]string{"x/a.go": "x := 1 // see DESIGN.md, section 3"}, []string{"x/a.go:1: DESIGN.md does not exist"}},
		"code that names a page":       {map[string]string{"x/a.go": `file := "made.md"`}, nil},
		"a manifest that cites":        {map[string]string{"m/a.yaml": "# see docs/b.md"}, []string{"m/a.yaml:1: docs/b.md does not exist"}},
		"a page of another site":       {map[string]string{"x/a.go": "// see https://example.com/docs/a.md"}, nil},
		"a page beside the file":       {map[string]string{"m/a.sh": "# see README.md", "m/README.md": ""}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fsys := fstest.MapFS{}
			var files []string
			for file, content := range test.files {
				fsys[file] = &fstest.MapFile{Data: []byte(content)}
				files = append(files, file)
			}
			got, err := check(fsys, files)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
