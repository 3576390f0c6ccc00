package testbed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What hack/previous.sh provides of the release before this tree, for [Main] and [Run]: its source, and its source with its
// program.
const (
	ToolPrevious        = "previous"
	ToolPreviousProgram = "previous-program"
)

// absent is what hack/previous.sh ends with where the clone does not have the release.
const absent = 3

// Release is the one before this tree.
type Release struct {
	// Name is its tag, or the commit that stands for one while there is none.
	Name string
	// tree is its source; empty where the clone does not have it.
	tree string
	kept string
}

// Previous returns the release before this tree. [ToolPrevious] or [ToolPreviousProgram] must have been asked for.
func Previous() (Release, error) {
	root, err := checkout()
	if err != nil {
		return Release{}, err
	}
	tree, err := Tool(ToolPreviousProgram)
	if err != nil {
		if tree, err = Tool(ToolPrevious); err != nil {
			return Release{}, err
		}
	}
	r := Release{tree: tree, kept: filepath.Join(root, "test", "testbed", "testdata", "previous")}
	named := filepath.Join(r.kept, "revision")
	if tree != "" {
		named = filepath.Join(tree, "REVISION")
	}
	name, err := os.ReadFile(named)
	if r.Name = strings.TrimSpace(string(name)); len(r.Name) == 40 { // a commit
		r.Name = r.Name[:7]
	}
	return r, err
}

// Missing says what of the release the clone does not have; empty where it has all.
func (r Release) Missing() string {
	if r.tree != "" {
		return ""
	}
	return fmt.Sprintf("this clone does not have %s: its program is not run, and the manifests kept in %s stand for its overlays and its chart", r.Name, r.kept)
}

// Program returns the path of its program; empty where there is none.
func (r Release) Program() string {
	program := filepath.Join(r.tree, "bin", "meshfence")
	if _, err := os.Stat(program); r.tree == "" || err != nil {
		return ""
	}
	return program
}

// Overlay returns the folder of an overlay. Where the clone does not have it, one is made in dir of what is kept.
func (r Release) Overlay(name, dir string) (string, error) {
	if r.tree != "" {
		return filepath.Join(r.tree, "manifests", "overlays", name), nil
	}
	manifests, err := os.ReadFile(r.Kept(name))
	if err != nil {
		return "", err
	}
	return dir, errors.Join(
		os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte("resources: [objects.yaml]\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "objects.yaml"), manifests, 0o600))
}

// Kept returns the file of this tree that has what an overlay, or the values of the chart, were when hack/previous.sh --update
// was run.
func (r Release) Kept(name string) string { return filepath.Join(r.kept, name+".yaml") }

// Chart returns the folder of its chart. Where the clone does not have it, one is made in dir that has the objects of the
// overlay self-signed without the Namespace, which are the same, and the values.
func (r Release) Chart(dir string) (string, error) {
	if r.tree != "" {
		return filepath.Join(r.tree, "charts", "meshfence"), nil
	}
	manifests, err := os.ReadFile(r.Kept("self-signed"))
	if err != nil {
		return "", err
	}
	values, err := os.ReadFile(r.Kept("values"))
	if err != nil {
		return "", err
	}
	var objects []string
	for document := range strings.SplitSeq(string(manifests), "\n---\n") {
		if !strings.Contains("\n"+document, "\nkind: Namespace\n") {
			objects = append(objects, document)
		}
	}
	templates := filepath.Join(dir, "templates")
	return dir, errors.Join(os.MkdirAll(templates, 0o700),
		os.WriteFile(filepath.Join(dir, "Chart.yaml"), []byte("apiVersion: v2\nname: meshfence\nversion: 0.0.0\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "values.yaml"), values, 0o600),
		os.WriteFile(filepath.Join(templates, "objects.yaml"), []byte(strings.Join(objects, "\n---\n")), 0o600))
}

func unpackPrevious(root string) (string, error) { return previous(root) }

func buildPrevious(root string) (string, error) { return previous(root, "--build") }

// previous returns the folder that hack/previous.sh prints; an empty one where the clone does not have the release.
func previous(root string, args ...string) (string, error) {
	command := exec.Command(filepath.Join(root, "hack", "previous.sh"), args...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == absent {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("the release before this tree: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
