package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// provide has hack/build-tools.sh build what is missing, with its progress on stderr, and makes the folder that the
// inner process mounts its state on.
func provide(names []string) (bed, error) {
	root, err := checkout()
	if err != nil {
		return bed{}, err
	}
	cmd := exec.Command(filepath.Join(root, "hack", "build-tools.sh"), append([]string{"--print"}, names...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return bed{}, fmt.Errorf("build tools: %w", err)
	}
	paths := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(paths) != len(names) {
		return bed{}, fmt.Errorf("build tools: %d paths for %d names: %q", len(paths), len(names), out)
	}
	cache, err := cacheDir()
	if err != nil {
		return bed{}, err
	}
	b := bed{State: filepath.Join(cache, "state"), Tools: map[string]string{}}
	for i, name := range names {
		b.Tools[name] = paths[i]
	}
	return b, os.MkdirAll(b.State, 0o700)
}

// checkout returns the root of the source tree around the working directory.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "hack", "build-tools.sh")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("hack/build-tools.sh is in no parent folder: run this inside the source tree")
		}
		dir = parent
	}
}
