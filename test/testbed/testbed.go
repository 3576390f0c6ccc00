package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"
)

// environment is the variable that tells a process that it is the isolated one, and what was prepared for it.
const environment = "MESHFENCE_TESTBED"

// bed is what the process outside the namespaces hands to the one inside.
type bed struct {
	// State is the folder that a tmpfs is mounted on.
	State string `json:"state"`
	// Tools maps the names of hack/build-tools.sh to paths.
	Tools map[string]string `json:"tools"`
}

// Main is TestMain for packages that use the test bed: it runs the package's tests in private namespaces and exits
// with their result. Further tools, by the names of hack/build-tools.sh, are built before.
func Main(m *testing.M, tools ...string) {
	os.Exit(exit(m.Run, isolate, append(controlPlaneTools(), tools...)))
}

// Run calls run in private namespaces and returns its exit code, or 1 after a message on stderr where that is not
// possible. The context ends on an interrupt. Further tools, by the names of hack/build-tools.sh, are built before.
//
// The calling process itself only waits: Run must be called before anything that should happen once.
func Run(run func(context.Context) int, tools ...string) int {
	return exit(func() int {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		return run(ctx)
	}, isolate, append(controlPlaneTools(), tools...))
}

// exit turns an error of the test bed itself into an exit code.
func exit(run func() int, isolate func(func() int, []string) (int, error), tools []string) int {
	code, err := isolate(run, tools)
	if err != nil {
		fmt.Fprintf(os.Stderr, "testbed: %v\n", err)
		return 1
	}
	return code
}

// Tool returns the path of a program or file that hack/build-tools.sh provides. Tools beyond those of the control
// plane must have been named to [Main] or [Run].
func Tool(name string) (string, error) {
	b, err := current()
	if err != nil {
		return "", err
	}
	path, ok := b.Tools[name]
	if !ok {
		return "", fmt.Errorf("tool %s was not asked for: name it to testbed.Main or testbed.Run", name)
	}
	return path, nil
}

// StateDir makes an empty folder, readable by the owner alone, that vanishes with the test bed.
func StateDir(name string) (string, error) {
	b, err := current()
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(b.State, name+"-")
}

// current returns the bed of this process.
func current() (bed, error) {
	value, ok := os.LookupEnv(environment)
	if !ok {
		return bed{}, errors.New("not in a test bed: call testbed.Main or testbed.Run first")
	}
	var b bed
	if err := json.Unmarshal([]byte(value), &b); err != nil {
		return bed{}, fmt.Errorf("decode %s: %w", environment, err)
	}
	return b, nil
}

// cacheDir is the folder of hack/build-tools.sh.
func cacheDir() (string, error) {
	if dir := os.Getenv("MESHFENCE_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "meshfence"), nil
}

// controlPlaneTools names what Start needs.
func controlPlaneTools() []string {
	return []string{"kube-apiserver", "kube-controller-manager", "kubectl", "etcd", "istio-crds", "gateway-crds", "mcs-crds"}
}
