package registry_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/meshfence/meshfence/registry"
)

// apiServer knows the token of anna, who may get /metrics, and of bert, who may not.
type apiServer struct {
	*fake.Clientset

	err   error
	asked []string // for what
}

func newAPIServer() *apiServer {
	a := &apiServer{Clientset: fake.NewClientset()}
	a.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview)
		a.asked = append(a.asked, "token "+review.Spec.Token)
		name := review.Spec.Token
		review.Status.Authenticated = name == "anna" || name == "bert"
		review.Status.User = authenticationv1.UserInfo{Username: name, UID: "1", Groups: []string{"all"}, Extra: map[string]authenticationv1.ExtraValue{"a": {"b"}}}
		return true, review, a.err
	})
	a.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		want := authorizationv1.SubjectAccessReviewSpec{
			User: "anna", UID: "1", Groups: []string{"all"}, Extra: map[string]authorizationv1.ExtraValue{"a": {"b"}},
			NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: "get", Path: "/metrics"},
		}
		a.asked = append(a.asked, "access "+review.Spec.User)
		review.Status.Allowed = cmp.Equal(want, review.Spec)
		return true, review, a.err
	})
	return a
}

// reading returns the status of the answer to a request for metrics.
func reading(t *testing.T, a *apiServer) func(method, path, authorization string) int {
	t.Helper()
	readers := registry.NewReaders(a.AuthenticationV1().TokenReviews(), a.AuthorizationV1().SubjectAccessReviews())
	handler, err := readers.Filter(logr.Discard(), http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
	}))
	if err != nil {
		t.Fatal(err)
	}
	return func(method, path, authorization string) int {
		request := httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody)
		header := "Authorization"
		if proxied, ok := strings.CutPrefix(authorization, "proxied "); ok {
			header, authorization = registry.ProxiedAuthorization, proxied
		}
		request.Header.Set(header, authorization)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		return recorder.Code
	}
}

func TestReaders(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		method, path, authorization string
		err                         error
		want                        int
		asked                       []string
	}{
		"who may":                      {"GET", "/metrics", "Bearer anna", nil, 200, []string{"token anna", "access anna"}},
		"the scheme in small letters":  {"GET", "/metrics", "bearer anna", nil, 200, []string{"token anna", "access anna"}},
		"who may, another path":        {"GET", "/other", "Bearer anna", nil, 403, []string{"token anna", "access anna"}},
		"who may, past a proxy":        {"GET", "/metrics", "proxied Bearer anna", nil, 200, []string{"token anna", "access anna"}},
		"who may not, past a proxy":    {"GET", "/metrics", "proxied Bearer bert", nil, 403, []string{"token bert", "access bert"}},
		"who may not":                  {"GET", "/metrics", "Bearer bert", nil, 403, []string{"token bert", "access bert"}},
		"a token of nobody":            {"GET", "/metrics", "Bearer carl", nil, 401, []string{"token carl"}},
		"no token":                     {"GET", "/metrics", "", nil, 401, nil},
		"an empty token":               {"GET", "/metrics", "Bearer ", nil, 401, nil},
		"another scheme":               {"GET", "/metrics", "Basic anna", nil, 401, nil},
		"another method":               {"POST", "/metrics", "Bearer anna", nil, 405, nil},
		"the API server does not tell": {"GET", "/metrics", "Bearer anna", errors.New("away"), 500, []string{"token anna"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAPIServer()
			a.err = test.err
			if got := reading(t, a)(test.method, test.path, test.authorization); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			if diff := cmp.Diff(test.asked, a.asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// What the API server has said counts for a while, for that token and path alone; that it said nothing does not.
func TestReadersAreRemembered(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAPIServer()
		get := reading(t, a)
		questions := func(want int, path, authorization string) {
			t.Helper()
			before := len(a.asked)
			get("GET", path, authorization)
			if got := len(a.asked) - before; got != want {
				t.Errorf("%s %s: asked %d times, want %d", path, authorization, got, want)
			}
		}
		questions(2, "/metrics", "Bearer anna")
		questions(0, "/metrics", "Bearer anna")
		questions(2, "/other", "Bearer anna")
		questions(1, "/metrics", "Bearer carl")
		questions(0, "/metrics", "Bearer carl")
		time.Sleep(11 * time.Second)
		questions(1, "/metrics", "Bearer carl")
		questions(0, "/metrics", "Bearer anna")
		time.Sleep(50 * time.Second)
		questions(2, "/metrics", "Bearer anna")
		a.err = errors.New("away")
		questions(1, "/metrics", "Bearer bert")
		questions(1, "/metrics", "Bearer bert")
	})
}
