package cluster_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

func configMapOf(name, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: install, Name: name},
		Data:       map[string]string{policy.ConfigMapKey: text},
	}
}

func TestStartConfig(t *testing.T) {
	t.Parallel()
	prefer := strings.Replace(fenced, "strict", "prefer", 1)
	bad := strings.Replace(fenced, "strict", "tight", 1)
	const none, away = `configmaps "meshfence" not found`, "the API server is away"
	empty := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: install, Name: cluster.LastGoodName}}
	for name, test := range map[string]struct {
		objects []client.Object
		away    string // the ConfigMap that cannot be read
		// fence is that of shop in the config; stale and err are parts of why it is an old one, or there is none.
		fence, stale, err string
		bad               bool
	}{
		"the one in the cluster": {objects: []client.Object{configMapOf("meshfence", fenced), configMapOf("meshfence-last-good", prefer)}, fence: "strict"},
		"deleted":                {objects: []client.Object{configMapOf("meshfence-last-good", prefer)}, fence: "prefer", stale: none},
		"bad": {objects: []client.Object{configMapOf("meshfence", bad), configMapOf("meshfence-last-good", prefer)},
			fence: "prefer", stale: `"tight" must be one of`, bad: true},
		"never one":                        {objects: []client.Object{empty}, err: none},
		"none at all":                      {err: none},
		"a bad one first":                  {objects: []client.Object{configMapOf("meshfence", bad), empty}, err: `"tight" must be one of`, bad: true},
		"deleted, and the last one is bad": {objects: []client.Object{configMapOf("meshfence-last-good", bad)}, err: none},
		"cannot be read":                   {objects: []client.Object{configMapOf("meshfence-last-good", prefer)}, away: "meshfence", err: away},
		"bad, and the last one cannot be read": {objects: []client.Object{configMapOf("meshfence", bad)},
			away: "meshfence-last-good", err: away},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reader := fake.NewClientBuilder().WithObjects(test.objects...).WithInterceptorFuncs(interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, o client.Object, opts ...client.GetOption) error {
					if key.Name == test.away {
						return errors.New(away)
					}
					return c.Get(ctx, key, o, opts...)
				},
			}).Build()
			config, stale, err := cluster.StartConfig(t.Context(), reader, policy.ConfigMapSource(install, leak.IDs(leak.Rules())))
			for what, pair := range map[string]struct {
				got  error
				want string
			}{"stale": {stale, test.stale}, "error": {err, test.err}} {
				if (pair.got != nil) != (pair.want != "") || pair.got != nil && !strings.Contains(pair.got.Error(), pair.want) {
					t.Errorf("%s %v, want %q", what, pair.got, pair.want)
				}
			}
			if _, ok := errors.AsType[*policy.ConfigError](errors.Join(stale, err)); ok != test.bad {
				t.Errorf("a bad config: %t, want %t", ok, test.bad)
			}
			if (config != nil) != (test.fence != "") {
				t.Fatalf("config %v", config)
			}
			if config != nil {
				if got := config.Namespace("shop", nil).Service("reviews", nil).Fence.String(); got != test.fence {
					t.Errorf("fence %s, want %s", got, test.fence)
				}
			}
		})
	}
}

// The last good config is what was put last; what is already written is not written again, and a missing ConfigMap is waited for.
func TestLastGood(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		patches := 0
		api := fake.NewClientBuilder().WithInterceptorFuncs(interceptor.Funcs{
			Patch: func(ctx context.Context, c client.WithWatch, o client.Object, p client.Patch, opts ...client.PatchOption) error {
				patches++
				return c.Patch(ctx, o, p, opts...)
			},
		}).Build()
		put, start := cluster.KeepLastGood(api, install, logr.Discard())
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- start(ctx) }()
		read := func() string {
			time.Sleep(time.Minute)
			object := configMapOf(cluster.LastGoodName, "")
			if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			return object.Data[policy.ConfigMapKey]
		}
		got := []string{read()}
		put("first")
		got = append(got, read())
		if err := api.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: install, Name: cluster.LastGoodName}}); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"first", "second", "second"} {
			put(text)
			got = append(got, read())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]string{"", "", "first", "second", "second"}, got); diff != "" {
			t.Errorf("kept (-want +got):\n%s", diff)
		}
		if patches != 2 {
			t.Errorf("%d patches, want 2", patches)
		}
	})
}
