package cluster_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	restwatch "k8s.io/client-go/rest/watch"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/test/fakecluster"
)

var manyServices = flag.Int("services", 20_000, "how many Services TestMemoryOfServices has")

// TestMemoryOfServices: what the cache and the index hold of a Service, of which a tenth is strict, and how much more it takes
// at most while they fill. In the place of an API server is one that streams Services as that does, in the same process.
func TestMemoryOfServices(t *testing.T) {
	const most = 1100                                // bytes for each
	defer debug.SetGCPercent(debug.SetGCPercent(50)) // as serve does
	n := *manyServices
	server := httptest.NewServer(serviceStream(n))
	defer server.Close()
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind("Service"), meta.RESTScopeNamespace)
	options := cluster.CacheOptions(install)
	maps.DeleteFunc(options.ByObject, func(o client.Object, _ cache.ByObject) bool {
		_, service := o.(*corev1.Service)
		return !service
	})
	options.Mapper, options.Scheme = mapper, scheme.Scheme
	services, err := cache.New(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{AcceptContentTypes: "application/vnd.kubernetes.protobuf"}}, options)
	if err != nil {
		t.Fatal(err)
	}
	index := policy.NewIndex(fakecluster.Config(t, "controlPlane: {clusters: [m1c1]}\nholds: [subset]\n"))
	informer, err := services.GetInformer(t.Context(), &corev1.Service{}, cache.BlockUntilSynced(false))
	if err != nil {
		t.Fatal(err)
	}
	filled, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{AddFunc: func(o any) { cluster.Enter(o, index) }})
	if err != nil {
		t.Fatal(err)
	}
	before, cpu := heap(), processor(t)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		if err := services.Start(ctx); err != nil {
			t.Error(err)
		}
	})
	for !filled.HasSynced() {
		time.Sleep(10 * time.Millisecond)
	}
	t.Logf("%s of the processor, the API server's part among it", (processor(t) - cpu).Round(time.Millisecond))
	t.Logf("%s resident at most", resident(t))
	each := (heap() - before) / uint64(n)
	t.Logf("%d bytes for each Service", each)
	if counted := index.Count(); counted["strict"] != n/10 || counted["none"] != n-n/10 {
		t.Errorf("Services: %v", counted)
	}
	if each > most {
		t.Errorf("%d bytes for each Service, want at most %d", each, most)
	}
	runtime.KeepAlive(services)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

func processor(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// resident returns the most that was.
func resident(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "an unknown amount"
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	text, _, _ := strings.Cut(strings.TrimSpace(rest), "\n")
	return text
}

// serviceStream answers a watch with initial events, and keeps it open.
func serviceStream(n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		info, _ := apiruntime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), apiruntime.ContentTypeProtobuf)
		if r.URL.Query().Get("sendInitialEvents") != "true" {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(metav1.Status{Status: metav1.StatusFailure, Message: "only streamed lists"})
			return
		}
		w.Header().Set("Content-Type", apiruntime.ContentTypeProtobuf+";stream=watch")
		encoder := restwatch.NewEncoder(
			streaming.NewEncoder(info.StreamSerializer.Framer.NewFrameWriter(w), info.StreamSerializer.Serializer),
			scheme.Codecs.EncoderForVersion(info.Serializer, corev1.SchemeGroupVersion))
		for i := range n {
			if encoder.Encode(&watch.Event{Type: watch.Added, Object: ordinary(i)}) != nil {
				return
			}
		}
		done := &corev1.Service{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "9999999", Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
		_ = encoder.Encode(&watch.Event{Type: watch.Bookmark, Object: done})
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

// ordinary is the Service of a number, with what tools write on one.
func ordinary(i int) *corev1.Service {
	name, namespace := fmt.Sprintf("service-%05d", i), fmt.Sprintf("team-%03d", i/100)
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name, UID: types.UID(fmt.Sprintf("5e1a1d3c-6b8f-4a0e-9f5e-%012d", i)), ResourceVersion: strconv.Itoa(1000000 + i),
			Labels:        map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": "shop-1.2.3"},
			Annotations:   map[string]string{"meta.helm.sh/release-name": name},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "helm", FieldsV1: metav1.NewFieldsV1(strings.Repeat("x", 600))}},
		},
		Spec: corev1.ServiceSpec{
			Selector:  map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": name},
			ClusterIP: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), Type: corev1.ServiceTypeClusterIP,
			Ports: []corev1.ServicePort{{Name: "http", Port: 8080}, {Name: "grpc", Port: 9090}, {Name: "http-metrics", Port: 9091}},
		},
	}
	s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	if i%10 == 0 {
		s.Annotations[policy.FenceKey] = "strict"
	}
	return s
}
