package splice_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/splice"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want, edited string }{
		"nothing":                       {text: "a: 1 # one\n", want: `{"a":1}`, edited: "a: 1 # one\n"},
		"a number alike":                {text: "a: 1.50\n", want: `{"a":1.5}`, edited: "a: 1.50\n"},
		"a key":                         {text: "a:\n  b: 1 # one\n  # last\nc: 2\n", want: `{"a":{"b":1,"d":"x"},"c":2}`, edited: "a:\n  b: 1 # one\n  d: x\n  # last\nc: 2\n"},
		"a merged key that is set, too": {text: "a: 1\nb:\n  <<: {c: 1, d: 2}\n  c: 3\n", want: `{"a":1,"b":{"c":3,"d":2},"e":"x"}`, edited: "a: 1\nb:\n  <<: {c: 1, d: 2}\n  c: 3\ne: x\n"},
		"at the end of text":            {text: "a:\n  b: 1", want: `{"a":{"b":1,"d":"x"},"e":true}`, edited: "a:\n  b: 1\n  d: x\ne: true"},
		"a mapping": {text: "metadata: # who\n    name: a\nspec: {}\n", want: `{"metadata":{"name":"a","labels":{"b":"c","d":"true"}},"spec":{}}`,
			edited: "metadata: # who\n    name: a\n    labels:\n        b: c\n        d: \"true\"\nspec: {}\n"},
		"where null stands": {text: "labels: # none\nb: 1\n", want: `{"labels":{"a":"b"},"b":1}`, edited: "labels: # none\n  a: b\nb: 1\n"},
		"in braces":         {text: "labels: {a: b} # c\n", want: `{"labels":{"a":"b","c":"d,e"}}`, edited: "labels: {a: b, c: 'd,e'} # c\n"},
		"in empty braces":   {text: "labels: {}\n", want: `{"labels":{"a":"b","c":"d"}}`, edited: "labels: {a: b, c: d}\n"},
		"braces over lines": {text: "labels: {\n  a: b,\n  c: 'it''s' # no } here\n}\n", want: `{"labels":{"a":"b","c":"it's","d":"e"}}`,
			edited: "labels: {\n  a: b,\n  c: 'it''s',\n  d: e # no } here\n}\n"},
		"an item": {text: "l:\n- name: a # one\n  x: 1\n\nm: 2\n", want: `{"l":[{"name":"a","x":1},{"name":"b","x":{"y":[1]}}],"m":2}`,
			edited: "l:\n- name: a # one\n  x: 1\n- name: b\n  x:\n    \"y\":\n    - 1\n\nm: 2\n"},
		"an item further in":    {text: "l:\n  - a\n  # b is gone\n  - c\n", want: `{"l":["a","c","d"],"m":[1]}`, edited: "l:\n  - a\n  # b is gone\n  - c\n  - d\nm:\n  - 1\n"},
		"before an item":        {text: "l:\n- name: b\n- name: c\n", want: `{"l":[{"name":"a"},{"name":"b"},{"name":"c"}]}`, edited: "l:\n- name: a\n- name: b\n- name: c\n"},
		"inside an item":        {text: "l:\n- name: a\n- name: b\n", want: `{"l":[{"name":"a","s":"x"},{"name":"b","s":"x"},{"name":"c"}]}`, edited: "l:\n- name: a\n  s: x\n- name: b\n  s: x\n- name: c\n"},
		"lists in lists":        {text: "- - a\n  - b\n- - c\n", want: `[["a","b","d"],["c"]]`, edited: "- - a\n  - b\n  - d\n- - c\n"},
		"in brackets":           {text: "l: [{k: 1}, http://x:1/a]\n", want: `{"l":[{"k":1,"m":2},"http://x:1/a","b"]}`, edited: "l: [{k: 1, m: 2}, http://x:1/a, b]\n"},
		"removed":               {text: "a:\n  b: 1\n  # why c\n  c: |\n    x\n  d: 2\n", want: `{"a":{"b":1,"d":2}}`, edited: "a:\n  b: 1\n  # why c\n  d: 2\n"},
		"removed first of item": {text: "l:\n- a: 1\n  b: 2\n", want: `{"l":[{"b":2}]}`, edited: "l:\n- b: 2\n"},
		"removed in braces":     {text: "{a: 1, b: 2, c: 3, d: 4}", want: `{"a":1}`, edited: "{a: 1}"},
		"removed before others": {text: "{a: 1, b: 2, c: 3}", want: `{"c":3}`, edited: "{c: 3}"},
		"an item removed":       {text: "l:\n- name: a\n- name: b\n  x: 1\n- name: c\n", want: `{"l":[{"name":"a"},{"name":"c"}]}`, edited: "l:\n- name: a\n- name: c\n"},
		"all removed":           {text: "l:\n- a\n- b\nm: {x: 1}\n", want: `{"l":[],"m":{}}`, edited: "l: []\nm: {}\n"},
		"a text":                {text: "a: x # y\n", want: `{"a":"it is"}`, edited: "a: it is # y\n"},
		"quoted texts":          {text: "a: \"x\"\nb: 'y'\n", want: `{"a":"1 \" 2","b":"it's"}`, edited: "a: \"1 \\\" 2\"\nb: 'it''s'\n"},
		"a literal": {text: "data:\n  mesh: |- # text\n    a: 1\n    # no comment\n\n    b: 2\n  # after\n  x: 1\n", want: `{"data":{"mesh":"a: 1\n# no comment\n\nb: 3\nc: 4\n","x":1}}`,
			edited: "data:\n  mesh: | # text\n    a: 1\n    # no comment\n\n    b: 3\n    c: 4\n  # after\n  x: 1\n"},
		"behind a literal":  {text: "a:\n  b: |+\n    x\n\n  c: |\n    y\n\n\n", want: `{"a":{"b":"x\n\n","c":"y\n","d":1}}`, edited: "a:\n  b: |+\n    x\n\n  c: |\n    y\n  d: 1\n\n\n"},
		"behind a kept one": {text: "a:\n  b: |+\n    x\n\n", want: `{"a":{"b":"x\n\n","d":1}}`, edited: "a:\n  b: |+\n    x\n\n  d: 1\n"},
		"behind long text":  {text: "a:\n  b: one\n    two\n    three # x\nc: 1\n", want: `{"a":{"b":"one two three","d":1},"c":1}`, edited: "a:\n  b: one\n    two\n    three # x\n  d: 1\nc: 1\n"},
		"line ends of DOS":  {text: "a:\r\n  b: 1\r\nc: 2\r\n", want: `{"a":{"b":1,"d":{"e":1}},"c":2}`, edited: "a:\r\n  b: 1\r\n  d:\r\n    e: 1\r\nc: 2\r\n"},
		"wide characters":   {text: "{ä: \"日本\", b: [ö]}\n", want: `{"ä":"日本","b":["ö","x"],"c":1}`, edited: "{ä: \"日本\", b: [ö, x], c: 1}\n"},
		"a byte order mark": {text: "\ufeffa: {b: 1}\n", want: `{"a":{"b":1,"c":2}}`, edited: "\ufeffa: {b: 1, c: 2}\n"},
		"JSON":              {text: `{"a":{"b":[1]}}`, want: `{"a":{"b":[1,{"c":"<d>","e":1}]},"f":{}}`, edited: `{"a":{"b":[1,{"c":"<d>","e":1}]},"f":{}}`},
		"JSON over lines":   {text: "{\n  \"a\": {\n    \"b\": \"\\ud83d\\ude00\\/\"\n  }\n}\n", want: `{"a":{"b":"😀/","c":{"d":1}}}`, edited: "{\n  \"a\": {\n    \"b\": \"\\ud83d\\ude00\\/\",\n    \"c\": {\"d\": 1}\n  }\n}\n"},
		"an anchor":         {text: "a: &x {b: 1}\nc: *x\n", want: `{"a":{"b":1},"c":{"b":1},"d":2}`, edited: "a: &x {b: 1}\nc: *x\nd: 2\n"},
		"behind a marker":   {text: " # doc\na: 1\n", want: `{"a":1,"b":2}`, edited: " # doc\na: 1\nb: 2\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := splice.Document([]byte(test.text), []byte(test.want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.edited, string(got)); diff != "" {
				t.Errorf("edited (-want +got):\n%s", diff)
			}
		})
	}
}

// What an edit would change in two places, or in none, is refused.
func TestDocumentWithoutPlace(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"an alias":    {text: "a: &x {b: 1}\nc: *x\n", want: `{"a":{"b":1},"c":{"b":2}}`},
		"an anchor":   {text: "a: &x {b: 1}\nc: *x\n", want: `{"a":{"b":2},"c":{"b":1}}`},
		"a merge key": {text: "a: &x {b: 1}\nc:\n  <<: *x\n  d: 1\n", want: `{"a":{"b":1},"c":{"b":2,"d":1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := splice.Document([]byte(test.text), []byte(test.want)); !errors.Is(err, splice.ErrPlace) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// FuzzDocument: whatever comes out holds what was wanted, and a second edit changes nothing.
func FuzzDocument(f *testing.F) {
	f.Add("a:\n  b: 1\nl:\n- name: x\n", `{"a":{"b":2},"l":[{"name":"x","y":1},3]}`)
	f.Add(`{"a": [1, {"b": "c"}]}`, `{"a": [{"b": "d"}], "e": null}`)
	f.Add("a: |\n  x\nb: [1, 'y']\n", `{"a":"z\n","b":["y"],"c":{"d":{}}}`)
	f.Fuzz(func(t *testing.T, text, want string) {
		edited, err := splice.Document([]byte(text), []byte(want))
		if err != nil {
			return
		}
		again, err := splice.Document(edited, []byte(want))
		if err != nil || string(again) != string(edited) {
			t.Errorf("%q and again %q: %v", edited, again, err)
		}
		if _, err := yaml.YAMLToJSON(edited); err != nil && text != string(edited) {
			t.Errorf("%q: %v", edited, err)
		}
	})
}
