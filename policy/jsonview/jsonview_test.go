package jsonview_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unsafe"

	libjson "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/jsonview"
)

// view has a field of every type that views have.
type view struct {
	inner
	Name    string            `json:"name"`
	Number  int64             `json:"number"`
	Is      *bool             `json:"is"`
	Labels  map[string]string `json:"labels"`
	Weights map[string]int64  `json:"weights"`
	Names   []string          `json:"names"`
	Raw     json.RawMessage   `json:"raw"`
	Raws    []json.RawMessage `json:"raws"`
	Present jsonview.Present  `json:"present"`
	List    []struct {
		Next *inner `json:"next"`
	} `json:"list"`
	Left int `json:"-"`
}

type inner struct {
	Port int64 `json:"port"`
}

// quick are texts that are read in one pass.
func quick() []string {
	return []string{
		`{}`, " {\n\t\"unknown\" : [ true , false , null, -0.5e+3, {\"a\":[]} ], \"Name\":\"other\"}\r\n ",
		`{"name": "a", "number": 12, "is": true, "labels": {"a": "b", "": ""}, "weights": {"x": -1}, "names": ["a", "a", "b", "a-b-c", "a.b.c"], "port": 0}`,
		`{"raw": {"a" : 1.0}, "raws": [1, "x"], "present": {}, "list": [{"next": {"port": 1}}, {}, {"next": {"port": 2}}]}`,
		`{"labels": {}, "weights": {}, "names": [], "raws": [], "list": [], "present": null}`,
		`{"name": "a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00", "names": ["ü", "\u003c", "0123456789abcdef"], "labels": {"\u0061": "b"}}`,
		`{"unknown": "\ud800", "unknown": "\"", "unknown": {"a": 1, "a": 2}, "name": "` + strings.Repeat("long ", 50) + `"}`,
		`{"n\u0061me": "a", "number": -0}`, `{"number": 9223372036854775807}`,
		`{"unknown": ` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, "{\"unknown\": \"a\xffb\"}",
	}
}

// slow are texts that are left to the library.
func slow() []string {
	return []string{
		``, `null`, `[]`, `{`, `{}}`, `{} {}`, `{"name": "a"`, `{"name": "a",}`, `{,}`, `{"name" "a"}`, `{name: "a"}`, "{\"name\": \"a\nb\"}",
		`{"name": "a", "name": "b"}`, `{"name": null}`, `{"name": 1}`, `{"name": "\ud800"}`, "{\"name\": \"a\xffb\"}", `{"name": "\x"}`, `{"name": "\u00g0"}`,
		`{"number": 1.0}`, `{"number": 1e3}`, `{"number": 01}`, `{"number": "1"}`, `{"number": 9223372036854775808}`, `{"number": -}`,
		`{"is": null}`, `{"is": 1}`, `{"is": tru}`, `{"labels": null}`, `{"labels": {"a": 1}}`, `{"labels": {"a": "b", "\u0061": "c"}}`, `{"weights": {"a": 1, "a": 2}}`,
		`{"names": null}`, `{"names": [null]}`, `{"names": ["a" "b"]}`, `{"names": {}}`, `{"raw": null}`, `{"raws": [null]}`, `{"raw": [1,]}`, `{"list": [null]}`, `{"list": [{"next": null}]}`,
		`{"unknown": 01}`, `{"unknown": 1.}`, `{"unknown": .5}`, `{"unknown": +1}`, `{"unknown": nul}`, `{"unknown": "\u12"}`, `{"unknown": }`, `{"unknown": [}`, "{\"unknown\": \"\x00\"}", "{\"unknown\": \"long\x1fand longer\"}", `{"unknown": "a`,
		"\ufeff{}", "{}\x00", `{"unknown": ` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `}`,
	}
}

func TestReader(t *testing.T) {
	t.Parallel()
	for want, texts := range map[bool][]string{true: quick(), false: slow()} {
		for _, text := range texts {
			if got := assertReadAlike(t, []byte(text)); got != want {
				t.Errorf("%.80q is read in one pass: %t, want %t", text, got, want)
			}
		}
	}
}

// FuzzReader: what is read in one pass reads the same by the library, and what is not leaves nothing behind.
func FuzzReader(f *testing.F) {
	for _, text := range append(quick(), slow()...) {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) { assertReadAlike(t, text) })
}

func assertReadAlike(t *testing.T, text []byte) (quick bool) {
	t.Helper()
	var want, got, read view
	err := libjson.Unmarshal(text, &want, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	quick = jsonview.Quick[view]()(text, &got)
	switch diff := cmp.Diff(want, got, cmp.AllowUnexported(view{})); {
	case quick && err != nil:
		t.Errorf("%.80q is read in one pass, and its error is %v", text, err)
	case quick && diff != "":
		t.Errorf("%.80q (-want +got):\n%s", text, diff)
	case !quick && !cmp.Equal(view{}, got, cmp.AllowUnexported(view{})):
		t.Errorf("%.80q is not read in one pass, and leaves %+v", text, got)
	}
	if gotErr := jsonview.Reader[view]()(text, &read); (gotErr == nil) != (err == nil) {
		t.Errorf("%.80q: error %v, want %v", text, gotErr, err)
	}
	if diff := cmp.Diff(want, read, cmp.AllowUnexported(view{})); diff != "" {
		t.Errorf("%.80q (-want +got):\n%s", text, diff)
	}
	return quick
}

// TestPart: it is a part of the text, and nothing for null.
func TestPart(t *testing.T) {
	t.Parallel()
	type parts struct {
		A jsonview.Part `json:"a"`
		B jsonview.Part `json:"b"`
	}
	text := []byte(`{"a": {"x" : [1]}, "b": null}`)
	var got parts
	if !jsonview.Quick[parts]()(text, &got) {
		t.Fatal("is not read")
	}
	if string(got.A) != `{"x" : [1]}` || &got.A[0] != &text[6] || got.B != nil {
		t.Errorf("parts %q and %q", got.A, got.B)
	}
}

// TestTextsShareMemory: one that comes again takes none of its own.
func TestTextsShareMemory(t *testing.T) {
	t.Parallel()
	var got view
	if !jsonview.Quick[view]()([]byte(`{"names": ["reviews", "cart", "reviews"], "labels": {"app": "reviews"}}`), &got) {
		t.Fatal("is not read")
	}
	first := unsafe.StringData(got.Names[0])
	if unsafe.StringData(got.Names[2]) != first || unsafe.StringData(got.Labels["app"]) != first {
		t.Error("reviews is there more than once")
	}
}

// TestWhatNoViewNeeds is left to the library.
func TestWhatNoViewNeeds(t *testing.T) {
	t.Parallel()
	for name, quick := range map[string]bool{
		"no name": jsonview.Quick[struct{ A string }]()([]byte(`{}`), new(struct{ A string })),
		"an option": jsonview.Quick[struct {
			A string `json:"a,omitempty"`
		}]()([]byte(`{}`), new(struct {
			A string `json:"a,omitempty"`
		})),
		"a floating one": jsonview.Quick[float64]()([]byte(`1`), new(float64)),
	} {
		if quick {
			t.Errorf("a field with %s is read", name)
		}
	}
}
