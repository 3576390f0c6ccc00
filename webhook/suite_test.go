package webhook_test

import (
	"cmp"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/policy/suite"
)

// TestSuites sends the object of every case of the rules through the webhook, first to be mutated and then to be validated,
// as an API server does. What a Service or a Namespace has others be found for comes beside what the case expects.
func TestSuites(t *testing.T) {
	t.Parallel()
	cases, err := suite.Load(os.DirFS(filepath.Join("..", "policy", "leak", "testdata")))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		kind, _ := admit.KindFor(schema.FromAPIVersionAndKind(c.Object.APIVersion, c.Object.Kind).Group, c.Object.Kind)
		if c.Operation == suite.Audit || c.Deleted() && !slices.Contains(kind.Operations(admit.ValidatePath), admissionv1.Delete) {
			continue // nobody asks
		}
		t.Run(c.Suite()+"/"+c.Title, func(t *testing.T) {
			t.Parallel()
			response := askSuite(t, c)
			if diff := gocmp.Diff(askSuite(t, escaped(c)), response); diff != "" {
				t.Errorf("%s:%d is answered in another way if it is not read in one pass (-slow +quick):\n%s", c.File, c.Line, diff)
			}
			got := suite.Expectation{Denied: places(response, leak.OutcomeDenied), Warned: places(response, leak.OutcomeWarned)}
			want := suite.Expectation{Denied: placesOf(c.Expect.Denied), Warned: placesOf(c.Expect.Warned)}
			if c.Object.Kind == object.KindService || c.Object.Kind == object.KindNamespace {
				got.Denied, got.Warned = among(want.Denied, got.Denied), among(want.Warned, got.Warned)
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("%s:%d (-want +got):\n%s", c.File, c.Line, diff)
			}
			if refused := c.Expect.Outcome == suite.Denied; response.Allowed == refused {
				t.Errorf("%s:%d: allowed is %t: %+v", c.File, c.Line, response.Allowed, response.Result)
			}
		})
	}
}

// escaped returns a case with an escape in the name of a field of its objects, which leaves them to the library.
func escaped(c suite.Case) suite.Case {
	escape := func(d suite.Document) suite.Document {
		d.JSON = []byte(strings.Replace(string(d.JSON), `"metadata"`, `"metadat\u0061"`, 1))
		return d
	}
	c.Object = escape(c.Object)
	if c.Old != nil {
		c.Old = new(escape(*c.Old))
	}
	return c
}

// askSuite returns the answer to the request of a case, in a cluster that has its scene.
func askSuite(t *testing.T, c suite.Case) *admissionv1.AdmissionResponse {
	t.Helper()
	index, err := c.Index()
	if err != nil {
		t.Fatal(err)
	}
	server := serveIndex(t, index, 0)
	for _, d := range c.Scene {
		var meta metav1.PartialObjectMetadata
		var whole unstructured.Unstructured
		if err := cmp.Or(json.Unmarshal(d.JSON, &meta), json.Unmarshal(d.JSON, &whole.Object)); err != nil {
			t.Fatal(err)
		}
		server.reader.objects = append(server.reader.objects, meta)
		server.reader.stored = append(server.reader.stored, whole)
	}
	old := ""
	if c.Old != nil {
		old = string(c.Old.JSON)
	}
	r := request(t, string(c.Object.JSON), old)
	r.UserInfo.Username = c.Writer
	if c.Deleted() {
		r.Operation, r.OldObject, r.Object = admissionv1.Delete, r.Object, runtime.RawExtension{}
		return server.ask(t, admit.ValidatePath, r)
	}
	if kind, _ := admit.KindFor(r.Kind.Group, r.Kind.Kind); kind.Mutate {
		if response := server.ask(t, admit.MutatePath, r); !response.Allowed {
			t.Fatalf("not mutated: %+v", response.Result)
		} else if len(response.Patch) > 0 {
			r.Object.Raw = applyPatch(t, r.Object.Raw, response.Patch)
		}
	}
	return server.ask(t, admit.ValidatePath, r)
}

// among returns what of a list is wanted.
func among(wanted, list []string) []string {
	var found []string
	for _, item := range list {
		if slices.Contains(wanted, item) {
			found = append(found, item)
		}
	}
	return found
}

// places are the rules and fields of an outcome, from what a response says for the audit log.
func places(response *admissionv1.AdmissionResponse, outcome string) []string {
	text := response.AuditAnnotations[outcome]
	if text == "" {
		return nil
	}
	return slices.Sorted(slices.Values(strings.Split(text, ", ")))
}

// placesOf does the same for the findings of a case, which begin with the field and end with the rule.
func placesOf(findings []string) []string {
	var list []string
	for _, f := range findings {
		field, _, _ := strings.Cut(f, ": ")
		rule := f[strings.LastIndex(f, "[")+1 : len(f)-1]
		list = append(list, rule+" "+field)
	}
	slices.Sort(list)
	return list
}
