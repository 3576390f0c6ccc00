package testbed_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

// programVariable makes the test binary a program that uses testbed.Run, for the tests that watch one from outside.
const programVariable = "TESTBED_TEST_PROGRAM"

func TestMain(m *testing.M) {
	name, ok := os.LookupEnv(programVariable)
	if !ok {
		testbed.Main(m)
	}
	os.Exit(testbed.Run(func(ctx context.Context) int { return program(ctx, name) }))
}

// program is what runs instead of the tests: the part of the name before the colon says what, the rest makes its
// processes recognisable.
func program(ctx context.Context, name string) int {
	action, _, _ := strings.Cut(name, ":")
	switch action {
	case "exit":
		return 7
	case "interrupt":
		fmt.Println("ready")
		<-ctx.Done()
		return 8
	case "cluster":
		if _, err := testbed.Start(context.WithoutCancel(ctx), testbed.Options{}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		fmt.Println("ready")
		select {}
	}
	return 1
}

func TestRunReturnsTheExitCode(t *testing.T) {
	t.Parallel()
	cmd, _ := outside(t, "exit")
	_ = cmd.Wait() // the exit code says it
	if want, got := 7, cmd.ProcessState.ExitCode(); want != got {
		t.Errorf("exit code: want %d, got %d", want, got)
	}
}

func TestInterruptEndsTheContext(t *testing.T) {
	t.Parallel()
	cmd, stdout := outside(t, "interrupt")
	awaitReady(t, stdout)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code says it
	if want, got := 8, cmd.ProcessState.ExitCode(); want != got {
		t.Errorf("exit code: want %d, got %d", want, got)
	}
}

// The program starts the same cluster, at the same addresses, as TestCluster does beside it.
func TestKilledParentLeavesNothing(t *testing.T) {
	t.Parallel()
	cmd, stdout := outside(t, "cluster")
	awaitReady(t, stdout)
	marker := cmd.Env[len(cmd.Env)-1]
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager"} {
		if !slices.Contains(processes(t, marker), name) {
			t.Fatalf("%s does not run: %q", name, processes(t, marker))
		}
	}
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	err := testbed.Eventually(t.Context(), 10*time.Second, func(context.Context) error {
		if left := processes(t, marker); len(left) > 0 {
			return fmt.Errorf("still running: %q", left)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// outside starts the test binary as a program that does not know of this test bed.
func outside(t *testing.T, name string) (*exec.Cmd, io.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "MESHFENCE_TESTBED=") {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	cmd.Env = append(cmd.Env, programVariable+"="+name+":"+t.Name())
	cmd.Stderr = t.Output()
	// Wait shall not wait for what a killed program left behind.
	cmd.WaitDelay = patience
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, stdout
}

func awaitReady(t *testing.T, stdout io.Reader) {
	t.Helper()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("program said %q: %v", line, err)
	}
}

// processes returns the programs that run with a variable in their environment.
func processes(t *testing.T, variable string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		environment, err := os.ReadFile(file)
		if err != nil || !slices.Contains(strings.Split(string(environment), "\x00"), variable) {
			continue // an error means that it has just ended
		}
		arguments, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err == nil {
			path, _, _ := bytes.Cut(arguments, []byte{0})
			found = append(found, filepath.Base(string(path)))
		}
	}
	return found
}
