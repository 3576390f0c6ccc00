package notice_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/meshfence/meshfence/controller/notice"
)

var reviews = &corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: "shop", Name: "reviews", UID: "1"}

// told is a recorder that runs until the test ends, and the API server that it tells.
type told struct {
	*notice.Recorder
	client   *fake.Clientset
	registry *prometheus.Registry
	stop     func()
}

func start(t *testing.T, client *fake.Clientset) *told {
	t.Helper()
	r := &told{client: client, registry: prometheus.NewRegistry()}
	var err error
	if r.Recorder, err = notice.New(client.EventsV1(), r.registry, logr.Discard()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Start(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	return r
}

// events lists what the API server holds, once all is sent.
func (r *told) events(t *testing.T) []string {
	t.Helper()
	synctest.Wait()
	list, err := r.client.EventsV1().Events("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range list.Items {
		text := fmt.Sprintf("%s %s/%s %s: %s", e.Namespace, e.Regarding.Kind, e.Regarding.Name, e.Reason, e.Note)
		if e.Series != nil {
			text += fmt.Sprintf(" (x%d)", e.Series.Count)
		}
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func (r *told) leak(note string) {
	r.Eventf(reviews, nil, corev1.EventTypeWarning, "Leak", "Audit", "%s", note)
}

// Two findings of one object are two Events; the same finding is one, which is counted now and then.
func TestRecorder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, fake.NewClientset())
		defer r.stop()
		r.leak("one")
		r.leak("two 100%")
		r.leak("one")
		want := []string{"shop Service/reviews Leak: one", "shop Service/reviews Leak: two 100%"}
		if diff := cmp.Diff(want, r.events(t)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		time.Sleep(11 * time.Minute)
		r.leak("one")
		want[0] += " (x3)"
		if diff := cmp.Diff(want, r.events(t)); diff != "" {
			t.Errorf("again after a while (-want +got):\n%s", diff)
		}
	})
}

// Another leader does not repeat what exists, also for another version of the object.
func TestNextLeaderKeepsStill(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		first := start(t, client)
		first.leak("one")
		want := first.events(t)
		first.stop()
		client.ClearActions()
		second := start(t, client)
		defer second.stop()
		changed := *reviews
		changed.ResourceVersion = "77"
		second.Eventf(&changed, nil, corev1.EventTypeWarning, "Leak", "Audit", "one")
		if diff := cmp.Diff(want, second.events(t)); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		for _, a := range client.Actions() {
			if a.GetVerb() == "patch" {
				t.Error("it is counted as if it had happened again")
			}
		}
	})
}

// What is about no namespace lies in the one that the API asks for; a text that is too long is cut.
func TestRecorderFitsTheAPI(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, fake.NewClientset())
		defer r.stop()
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
		r.Eventf(namespace, nil, corev1.EventTypeWarning, "NoLocalEndpoint", "Audit", "%s", strings.Repeat("ü", 1000))
		got := r.events(t)
		if len(got) != 1 || !strings.HasPrefix(got[0], "default Namespace/shop NoLocalEndpoint: ü") || !strings.HasSuffix(got[0], "ü...") {
			t.Fatalf("events %q", got)
		}
		if _, note, _ := strings.Cut(got[0], ": "); len(note) > 1024 || len(note) < 1020 {
			t.Errorf("the note has %d bytes", len(note))
		}
	})
}

// Many Events of one reason do not keep another one waiting.
func TestReasonsTakeTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		r := start(t, client)
		var sent []string
		client.PrependReactor("create", "events", func(a clienttesting.Action) (bool, runtime.Object, error) {
			time.Sleep(200 * time.Millisecond) // as the client of a replica limits it
			sent = append(sent, a.(clienttesting.CreateAction).GetObject().(*eventsv1.Event).Reason)
			return false, nil, nil
		})
		for i := range 1000 {
			r.leak(fmt.Sprint(i))
		}
		r.Eventf(reviews, nil, corev1.EventTypeWarning, "NotHeld", "Hold", "it")
		r.Eventf(reviews, nil, corev1.EventTypeWarning, "FenceLost", "Audit", "it")
		time.Sleep(time.Second)
		r.stop()
		// The first leak may be on its way before there is anything else.
		if diff := cmp.Diff([]string{"FenceLost", "Leak", "Leak", "NotHeld"}, slices.Sorted(slices.Values(sent[:4]))); diff != "" {
			t.Errorf("sent first (-want +got):\n%s", diff)
		}
	})
}

// An API server that takes no Events keeps nobody waiting: what does not fit is dropped and counted.
func TestRecorderDrops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client := fake.NewClientset()
		client.PrependReactor("create", "events", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("away")
		})
		r := start(t, client)
		defer r.stop()
		r.leak("first")
		synctest.Wait() // it is being sent
		for i := range 3000 {
			r.leak(fmt.Sprint(i))
		}
		want := "# HELP meshfence_events_total Events by what became of them; known ones were in the cluster already.\n" +
			"# TYPE meshfence_events_total counter\n" + `meshfence_events_total{outcome="dropped"} %d` + "\n"
		if err := testutil.GatherAndCompare(r.registry, strings.NewReader(fmt.Sprintf(want, 3000-1024))); err != nil {
			t.Error(err)
		}
		time.Sleep(20 * time.Second) // 1 + 2 + 4 + 8 for the first
		synctest.Wait()
		if err := testutil.GatherAndCompare(r.registry, strings.NewReader(fmt.Sprintf(want, 3001-1024))); err != nil {
			t.Error(err)
		}
	})
}
