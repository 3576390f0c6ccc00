package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// apiServer is one that has gone, or answers with the FenceConfig and nothing else.
type apiServer struct {
	*httptest.Server
	config atomic.Pointer[string]
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	a := &apiServer{}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		config := a.config.Load()
		switch {
		case config == nil:
			http.Error(w, "away", http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, "/configmaps/meshfence") && *config != "":
			fmt.Fprintf(w, `{"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "meshfence"}, "data": {"config.yaml": %q}}`, *config)
		case strings.Contains(r.URL.Path, "/configmaps/meshfence"): // the last good one, too
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "configmaps \"meshfence\" not found"}`)
		default:
			http.Error(w, "away", http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *apiServer) set(config string) { a.config.Store(&config) }

// serving is the command, which runs until the test ends.
type serving struct {
	health string
	logs   safeBuilder
	code   chan int
	cancel context.CancelFunc
}

// safeBuilder may be written and read at once.
type safeBuilder struct {
	mu sync.Mutex
	strings.Builder
}

func (b *safeBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

func (b *safeBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.String()
}

func startServing(t *testing.T, server string) *serving {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &serving{health: listener.Addr().String(), code: make(chan int, 1)}
	listener.Close()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	content := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: c, clusters: [{name: c, cluster: {server: %q}}],
contexts: [{name: c, context: {cluster: c}}]}`, server)
	if err := os.WriteFile(kubeconfig, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, s.cancel = context.WithCancel(t.Context())
	command := newCommand()
	command.SetArgs([]string{"serve", "--kubeconfig=" + kubeconfig, "--health-address=" + s.health,
		"--webhook-address=127.0.0.1:0", "--metrics-address=0"})
	command.SetErr(&s.logs)
	go func() { s.code <- run(ctx, command) }()
	t.Cleanup(func() { s.stop(t, 0) })
	return s
}

// stop ends the command, once.
func (s *serving) stop(t *testing.T, want int) {
	t.Helper()
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.cancel = nil
	if code := <-s.code; code != want {
		t.Errorf("exit code %d, want %d\n%s", code, want, s.logs.String())
	}
}

// says waits until /readyz fails with a text, while /healthz succeeds.
func (s *serving) says(t *testing.T, want string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		code, text := s.ask(t, "/readyz")
		if last = fmt.Sprint(code, " ", text); code == http.StatusServiceUnavailable && strings.Contains(text, want) {
			if code, _ := s.ask(t, "/healthz"); code != http.StatusOK {
				t.Errorf("/healthz answers %d", code)
			}
			return
		}
	}
	t.Fatalf("/readyz answers %s, want %s\n%s", last, want, s.logs.String())
}

func (s *serving) ask(t *testing.T, path string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.health+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, err.Error()
	}
	return response.StatusCode, string(body)
}

const servedConfig = `apiVersion: config.meshfence.io/v1alpha1
kind: FenceConfig
controlPlane: {clusters: [m1c1]}
holds: [meshConfig]
`

// What time fixes ends no replica: it lives, is not ready, says why, and goes on.
func TestServeWaits(t *testing.T) {
	t.Parallel()
	api := newAPIServer(t)
	s := startServing(t, api.URL)
	s.says(t, "config: get FenceConfig: ")
	api.set("")
	s.says(t, `configmaps "meshfence" not found`)
	api.set(servedConfig) // the API server tells of no other kind yet
	s.says(t, "state: the API server has not told its kinds")
	s.stop(t, 0)
	var failed []string
	for line := range strings.Lines(s.logs.String()) {
		var said struct{ Level, Msg, Checks string }
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Errorf("a line of the log is no JSON: %s", line)
		}
		if said.Level == "ERROR" {
			t.Errorf("nothing has gone wrong: %s", line)
		}
		if said.Msg == "not ready yet" {
			failed = append(failed, said.Checks)
		}
	}
	if want := []string{"config", "state"}; !slices.Equal(want, failed) {
		t.Errorf("the log names %v as what is not ready, want %v", failed, want)
	}
}

func TestServeRefusesABadConfig(t *testing.T) {
	t.Parallel()
	api := newAPIServer(t)
	api.set("holds: [any]")
	s := startServing(t, api.URL)
	code := <-s.code
	s.code <- code
	if want := "ConfigMap meshfence-system/meshfence:1: holds"; code != exitError || !strings.Contains(s.logs.String(), want) {
		t.Errorf("exit code %d, want %d; the log lacks %q:\n%s", code, exitError, want, s.logs.String())
	}
	s.stop(t, exitError)
}
