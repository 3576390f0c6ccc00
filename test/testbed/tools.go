package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// provide has hack/build-tools.sh build what is missing, with its progress on stderr, and makes the folder that the
// inner process mounts its state on.
func provide(names []string) (bed, error) {
	root, err := checkout()
	if err != nil {
		return bed{}, err
	}
	b := bed{Tools: map[string]string{}}
	for name, make := range map[string]func(root string) (string, error){
		ToolMeshfence: buildMeshfence, ToolPrevious: unpackPrevious, ToolPreviousProgram: buildPrevious,
	} {
		if i := slices.Index(names, name); i >= 0 {
			names = slices.Delete(slices.Clone(names), i, i+1)
			if b.Tools[name], err = make(root); err != nil {
				return bed{}, err
			}
		}
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
	b.State = filepath.Join(cache, "state")
	for i, name := range names {
		b.Tools[name] = paths[i]
	}
	return b, os.MkdirAll(b.State, 0o700)
}

// buildMeshfence builds the program of this tree into its bin folder, one test package at a time.
func buildMeshfence(root string) (string, error) {
	path := filepath.Join(root, "bin", "meshfence")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	cmd := exec.Command("make", "-s", "build")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build meshfence: %w\n%s", err, out)
	}
	return path, nil
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
