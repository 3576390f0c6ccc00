package testbed_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

func TestProcessThatEndsEarly(t *testing.T) {
	t.Parallel()
	started := time.Now()
	_, err := testbed.StartProcess(t.Context(), testbed.Command{
		Name:  "istiod",
		Path:  "/bin/sh",
		Args:  []string{"-c", "echo $COMPLAINT; exit 3"},
		Env:   []string{"COMPLAINT=no mesh config"},
		Dir:   t.TempDir(),
		Ready: func(context.Context) error { return errors.New("not listening") },
	})
	if err == nil {
		t.Fatal("it became ready")
	}
	for _, want := range []string{"start istiod", "not listening", "exit status 3", "no mesh config"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in %v", want, err)
		}
	}
	if took := time.Since(started); took > patience {
		t.Errorf("it took %s to see that the process had ended", took)
	}
}

func TestProcessStop(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		grace time.Duration
		want  string
	}{
		"with grace":    {patience, "exit status 5"},
		"without grace": {0, "signal: killed"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ready := filepath.Join(t.TempDir(), "ready")
			p, err := testbed.StartProcess(t.Context(), testbed.Command{
				Name:  "server",
				Path:  "/bin/sh",
				Args:  []string{"-c", "trap 'exit 5' TERM; touch " + ready + "; while :; do read -r _ <&-; done"},
				Dir:   t.TempDir(),
				Ready: func(context.Context) error { _, err := os.Stat(ready); return err },
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Err(); err != nil {
				t.Fatalf("ended before it was stopped: %v", err)
			}
			p.Stop(test.grace)
			p.Stop(test.grace)
			if got := p.Err(); got == nil || got.Error() != test.want {
				t.Errorf("want %s, got %v", test.want, got)
			}
		})
	}
}

func TestProcessLog(t *testing.T) {
	t.Parallel()
	p, err := testbed.StartProcess(t.Context(), testbed.Command{
		Name: "server", Path: "/bin/sh", Args: []string{"-c", "seq 100"}, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if err := p.Err(); err != nil {
		t.Error(err)
	}
	if want, got := "--- server, last 2 lines of 100\n99\n100\n", p.Log(2); want != got {
		t.Errorf("want %q, got %q", want, got)
	}
}

func TestEventually(t *testing.T) {
	t.Parallel()
	calls := 0
	err := testbed.Eventually(t.Context(), patience, func(context.Context) error {
		calls++
		if calls < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || calls != 3 {
		t.Errorf("want nil at the third call, got %v after %d", err, calls)
	}

	never := errors.New("never")
	err = testbed.Eventually(t.Context(), 100*time.Millisecond, func(ctx context.Context) error {
		if calls++; calls < 5 {
			return never
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, never) || !strings.Contains(err.Error(), "not so within 100ms") {
		t.Errorf("want the last error of its own and the time limit, got %v", err)
	}
}

// The network has no way out, so that a test cannot come to depend on one.
func TestNetworkIsPrivate(t *testing.T) {
	t.Parallel()
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp != 0 && i.Flags&net.FlagLoopback == 0 {
			t.Errorf("interface %s is up", i.Name)
		}
	}
}
