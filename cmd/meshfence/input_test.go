package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A folder is read whatever lies in it: a link that an editor left, a pipe that nobody writes to.
func TestCheckOddFolder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := write(t, dir, "fenceconfig.yaml", fenceConfig)
	write(t, dir, "real/leak.json", asJSONStream)
	linked := filepath.Join(dir, "linked")
	if err := errors.Join(
		os.Symlink(filepath.Join(dir, "real"), linked),
		os.Symlink("nowhere", filepath.Join(linked, ".#leak.yaml")),
		os.Symlink("leak.json", filepath.Join(linked, "again.yaml")),
		syscall.Mkfifo(filepath.Join(linked, "pipe.yaml"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := meshfence(t, "", "check", "-f", linked, "--config", config)
	for _, file := range []string{"again.yaml", "leak.json"} {
		if want := filepath.Join(linked, file) + ":2: deny"; code != exitDenied || !strings.Contains(stdout, want) {
			t.Errorf("exit code %d, and output lacks %q:\n%s%s", code, want, stdout, stderr)
		}
	}
}

// Who waits for the standard input ends when told to.
func TestSignalEndsReading(t *testing.T) {
	t.Parallel()
	command := exec.CommandContext(t.Context(), os.Args[0], "check", "-f", "-")
	command.Env = append(os.Environ(), asProgram+"=yes")
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	// More than a pipe holds, so that it has begun to read once all is written.
	if _, err := stdin.Write(bytes.Repeat([]byte("# wait\n"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := command.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	err = command.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || !exit.Sys().(syscall.WaitStatus).Signaled() {
		t.Errorf("ended with %v, want it ended by the signal", err)
	}
}

// What a manifest says cannot pass for what meshfence says, and a place is one that code hosts find.
func TestOddNames(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	file := write(t, dir, "a #1%.yaml", fencedService+"---\n"+strings.Replace(leakyRule, "name: leaky", `name: "a\e[31m\n::error::b"`, 1))
	for output, want := range map[string]string{
		"text":   file + `:3: deny: DestinationRule default/a\x1b[31m\n::error::b: spec.`,
		"github": `::error file=` + strings.ReplaceAll(file, "%", "%25") + `,line=3,title=destinationrule-tunnel::DestinationRule default/a` + "\x1b[31m" + `%0A::error::b: spec.`,
		"sarif":  `a%20%231%25.yaml"`,
		"junit":  `name="DestinationRule default/a` + "\ufffd" + `[31m&#xA;::error::b"`,
	} {
		t.Run(output, func(t *testing.T) {
			t.Parallel()
			if code, stdout, stderr := meshfence(t, "", "check", "-f", dir, "--config", config, "-o", output); code != exitDenied || !strings.Contains(stdout, want) {
				t.Errorf("exit code %d, and output lacks %q:\n%s%s", code, want, stdout, stderr)
			}
		})
	}
}

// The line is that of the field, in whatever form it comes.
func TestLineOfField(t *testing.T) {
	t.Parallel()
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	const head = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: it\nspec:\n"
	for name, test := range map[string]struct {
		text string
		line int
	}{
		"merged in place":          {head + "  <<:\n    hosts: [reviews.default.svc.cluster.local]\n", 9},
		"merged by an alias":       {head + "  x: &x\n    hosts: [reviews.default.svc.cluster.local]\n  <<: *x\n", 9},
		"merged by a list":         {head + "  x: &x\n    hosts: [reviews.default.svc.cluster.local]\n  <<: [{a: b}, *x]\n", 9},
		"merged and set otherwise": {head + "  <<: {hosts: [a.example.com]}\n  hosts: [reviews.default.svc.cluster.local]\n", 9},
		"JSON with escapes that YAML has not": {
			`{"apiVersion":"networking.istio.io/v1","kind":"ServiceEntry","metadata":{"name":"it","annotations":{"a":"b\/\ud83d\ude00"}},` + "\n" +
				`"spec":{` + "\n" + `"hosts":["reviews.default.svc.cluster.local"]}}`, 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := meshfence(t, fencedService+"---\n"+test.text, "check", "-f", "-", "--config", config, "-o", "json")
			var found []findingJSON
			if err := json.Unmarshal([]byte(stdout), &found); err != nil || code != exitDenied || len(found) != 1 {
				t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
			}
			if found[0].Place.Line != test.line {
				t.Errorf("line %d, want %d", found[0].Place.Line, test.line)
			}
		})
	}
}
