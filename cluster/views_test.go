package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/test/upstream"
)

// storedKind is a kind that is watched.
type storedKind struct {
	entry admit.Kind
	gvk   schema.GroupVersionKind
}

func storedKinds() map[string]storedKind {
	kinds := map[string]storedKind{}
	for _, k := range admit.Kinds() {
		if k.Stored {
			kinds[k.Kind] = storedKind{k, schema.GroupVersionKind{Group: k.Group, Version: k.Versions[0], Kind: object.APIKind(k.Kind)}}
		}
	}
	return kinds
}

// text returns an object as an API server sends it, with what is not kept.
func (k storedKind) text(t *testing.T, name string, labels map[string]any) string {
	t.Helper()
	raw, err := json.Marshal(upstream.Objects()[k.entry.Kind])
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	tree["apiVersion"], tree["kind"] = k.gvk.GroupVersion().String(), k.gvk.Kind
	metadata := tree["metadata"].(map[string]any)
	metadata["name"], metadata["resourceVersion"], metadata["managedFields"] = name, "7", []any{map[string]any{"manager": "it"}}
	metadata["annotations"] = map[string]any{corev1.LastAppliedConfigAnnotation: "{}", "other": "stays"}
	if labels != nil {
		metadata["labels"] = labels
	}
	if raw, err = json.Marshal(tree); err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func event(kind, object string) string {
	return fmt.Sprintf(`{"type": %q, "object": %s}`+"\n", kind, object)
}

// apiServer answers for one kind: with a list, or with the same as a stream where it may.
type apiServer struct {
	storedKind

	streams bool
	objects []string
	// later are the events that follow.
	later []string

	mu    sync.Mutex
	asked []string
}

func (s *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.URL.Path+" "+r.URL.Query().Get("labelSelector"))
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	initial := query.Get("sendInitialEvents") == "true"
	switch {
	case query.Get("watch") == "":
		items := make([]string, len(s.objects))
		for i, text := range s.objects { // those of Kubernetes' own kinds are not said what they are
			items[i] = strings.Replace(strings.Replace(text, fmt.Sprintf(`"kind":%q,`, s.gvk.Kind), "", 1), fmt.Sprintf(`"apiVersion":%q,`, s.gvk.GroupVersion()), "", 1)
		}
		fmt.Fprintf(w, `{"kind": "%sList", "apiVersion": %q, "metadata": {"resourceVersion": "8"}, "items": [%s]}`, s.gvk.Kind, s.gvk.GroupVersion(), strings.Join(items, ","))
		return
	case initial && !s.streams:
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity})
		return
	case initial:
		for _, text := range s.objects {
			_, _ = io.WriteString(w, event("ADDED", text))
		}
		_, _ = io.WriteString(w, event("BOOKMARK", fmt.Sprintf(`{"kind": %q, "apiVersion": %q, "metadata": {"resourceVersion": "8", "creationTimestamp": null, "annotations": {%q: "true"}}}`,
			s.gvk.Kind, s.gvk.GroupVersion(), metav1.InitialEventsAnnotationKey)))
	}
	for _, text := range s.later {
		_, _ = io.WriteString(w, text)
	}
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// newCache returns a cache of that API server alone, and the informer of its kind.
func newCache(tb testing.TB, k storedKind, handler http.Handler) (cache.Cache, cache.Informer) {
	tb.Helper()
	server := httptest.NewServer(handler)
	tb.Cleanup(server.Close)
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.AddSpecific(k.gvk, k.gvk.GroupVersion().WithResource(k.entry.Resource), k.gvk.GroupVersion().WithResource(k.entry.Resource), meta.RESTScopeNamespace)
	options := cluster.CacheOptions(install)
	options.ByObject, options.Mapper, options.Scheme = nil, mapper, scheme.Scheme
	c, err := cluster.NewCache(&rest.Config{Host: server.URL}, options)
	if err != nil {
		tb.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(k.gvk)
	informer, err := c.GetInformer(tb.Context(), u, cache.BlockUntilSynced(false))
	if err != nil {
		tb.Fatal(err)
	}
	return c, informer
}

// start runs a cache until the test ends.
func start(tb testing.TB, c cache.Cache) {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Start(ctx); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() {
		cancel()
		running.Wait()
	})
}

// byContent compares what is kept as text by what it says: the order of its fields does not matter.
func byContent() cmp.Option {
	return cmp.Transformer("content", func(text json.RawMessage) (content any) {
		if json.Unmarshal(text, &content) != nil {
			return string(text)
		}
		return content
	})
}

// TestCacheHoldsViews: what comes as a list, as a stream or as a change is what Keep keeps of it, of every stored kind.
func TestCacheHoldsViews(t *testing.T) {
	t.Parallel()
	for kind, k := range storedKinds() {
		for way, streams := range map[string]bool{"list": false, "stream": true} {
			t.Run(kind+"/"+way, func(t *testing.T) {
				t.Parallel()
				last := k.text(t, "last", map[string]any{"is": "last"})
				texts := []string{k.text(t, "first", nil), k.text(t, "second", map[string]any{"a": "b"})}
				gone := event("DELETED", k.text(t, "first", nil))
				s := &apiServer{storedKind: k, streams: streams, objects: texts, later: []string{event("ADDED", last), gone}}
				c, informer := newCache(t, k, s)
				views, deleted := make(chan *object.Object, 9), make(chan string, 1)
				_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
					AddFunc: func(cached any) { views <- cluster.ViewOf(cached) },
					DeleteFunc: func(cached any) {
						key, _ := toolscache.DeletionHandlingObjectToName(cached)
						deleted <- key.String()
					},
				})
				if err != nil {
					t.Fatal(err)
				}
				start(t, c)
				got := map[string]*object.Object{}
				for range 3 {
					view := <-views
					got[view.Metadata.Name] = view
				}
				want := map[string]*object.Object{}
				for _, text := range append(slices.Clone(texts), last) {
					full := &unstructured.Unstructured{}
					if err := full.UnmarshalJSON([]byte(text)); err != nil {
						t.Fatal(err)
					}
					if want[full.GetName()], err = cluster.Keep(full, kind); err != nil {
						t.Fatal(err)
					}
				}
				if diff := cmp.Diff(want, got, byContent()); diff != "" {
					t.Errorf("views (-want +got):\n%s", diff)
				}
				if key := <-deleted; !strings.HasSuffix(key, "first") {
					t.Errorf("%s is deleted", key)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if want := fmt.Sprintf("/apis/%s/%s/%s %s", k.gvk.Group, k.gvk.Version, k.entry.Resource, k.entry.StoredBy); slices.ContainsFunc(s.asked, func(path string) bool { return path != want }) {
					t.Errorf("asked %v, want %s", s.asked, want)
				}
			})
		}
	}
}

// TestCacheKeepsCompanionsWhole: all of them but what is not kept of any object.
func TestCacheKeepsCompanionsWhole(t *testing.T) {
	t.Parallel()
	k := storedKinds()[object.KindDestinationRule]
	text := k.text(t, "cart-meshfence", map[string]any{"app.kubernetes.io/managed-by": "meshfence"})
	c, informer := newCache(t, k, &apiServer{storedKind: k, streams: true, objects: []string{text}})
	views := make(chan *object.Object, 1)
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(cached any) { views <- cluster.ViewOf(cached) }}); err != nil {
		t.Fatal(err)
	}
	start(t, c)
	var whole struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     json.RawMessage   `json:"spec"`
	}
	if err := json.Unmarshal((<-views).Whole, &whole); err != nil {
		t.Fatal(err)
	}
	if m := whole.Metadata; m.Name != "cart-meshfence" || len(m.ManagedFields) > 0 || len(m.Annotations) != 1 || len(whole.Spec) == 0 {
		t.Errorf("kept whole: %+v", whole)
	}
}

// TestCacheReadsWhatIsUnusual: an object that no view can be made of keeps its name, and one of several MiB passes.
func TestCacheReadsWhatIsUnusual(t *testing.T) {
	t.Parallel()
	k := storedKinds()[object.KindDestinationRule]
	const head = `"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"namespace": "shop", "resourceVersion": "9", `
	s := &apiServer{storedKind: k, streams: true, objects: []string{
		`{` + head + `"name": "unreadable"}, "spec": {"host": 7}}`,
		`{` + head + `"name": "twice", "name": "again"}, "spec": {"host": null, "subsets": []}}`,
		`{` + head + `"name": "large"}, "spec": {"host": "cart", "other": "` + strings.Repeat("a", 3<<20) + `"}}`,
	}}
	c, informer := newCache(t, k, s)
	views := make(chan *object.Object, 9)
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(cached any) { views <- cluster.ViewOf(cached) }}); err != nil {
		t.Fatal(err)
	}
	start(t, c)
	hosts := map[string]string{}
	for range 3 {
		view := <-views
		hosts[view.Metadata.Name] = "unread"
		if view.DestinationRule != nil {
			hosts[view.Metadata.Name] = view.DestinationRule.Host
		}
	}
	if diff := cmp.Diff(map[string]string{"unreadable": "unread", "again": "", "large": "cart"}, hosts); diff != "" {
		t.Errorf("hosts (-want +got):\n%s", diff)
	}
}

// TestFrames: each Read gives an event or as much of it as there is room for, and errors are those of the stream.
func TestFrames(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection lost")
	type read struct {
		Text string
		Err  error
	}
	for name, test := range map[string]struct {
		stream io.Reader
		want   []read
	}{
		"events":           {strings.NewReader(`{"a":1}` + "\n" + `{"b":"c"}`), []read{{`{"a":1}`, nil}, {`{"b":"c"}`, nil}, {"", io.EOF}}},
		"byte by byte":     {iotest.OneByteReader(strings.NewReader(`{"a":1}{}`)), []read{{`{"a":1}`, nil}, {`{}`, nil}, {"", io.EOF}}},
		"one without room": {strings.NewReader(`{"a":"0123456789"}{}`), []read{{`{"a":"012345`, io.ErrShortBuffer}, {`6789"}`, nil}, {`{}`, nil}, {"", io.EOF}}},
		"one that ends":    {strings.NewReader(`{"a":`), []read{{"", io.ErrUnexpectedEOF}}},
		"one that is lost": {io.MultiReader(strings.NewReader(`{}{"a":`), iotest.ErrReader(lost)), []read{{`{}`, nil}, {"", lost}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			frames, buffer := cluster.Frames(io.NopCloser(test.stream)), make([]byte, 12)
			for _, want := range test.want {
				n, err := frames.Read(buffer)
				if got := string(buffer[:n]); got != want.Text || err != want.Err { //nolint:errorlint // client-go compares them so
					t.Errorf("read %q, %v, want %q, %v", got, err, want.Text, want.Err)
				}
			}
		})
	}
}
