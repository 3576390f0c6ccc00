package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/meshfence/meshfence/test/testbed"
)

// script prints commands as a user would type them, and what came back.
type script struct {
	mesh     *testbed.Mesh
	bookinfo *testbed.Bookinfo
	out      io.Writer
	colour   bool
	// written are files beside those of the demo, by name.
	written map[string]string
	// output is what the last command printed.
	output string
}

func newScript(out *os.File) *script {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &script{out: out, colour: terminal && os.Getenv("NO_COLOR") == "", written: map[string]string{}}
}

// The styles of a terminal (ECMA-48).
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (s *script) paint(style, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (s *script) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *script) heading(text string) { s.say("\n%s", s.paint(bold, text)) }

// both runs one kubectl command in each cluster.
func (s *script) both(ctx context.Context, args ...string) error {
	for _, c := range s.mesh.Clusters {
		if err := s.kubectl(ctx, c.Name, args...); err != nil {
			return err
		}
	}
	return nil
}

// kubectl prints and runs one kubectl command. A file named by -f is one of the demo's own.
func (s *script) kubectl(ctx context.Context, cluster string, args ...string) error {
	shown, run, stdin := make([]string, len(args)), make([]string, len(args)), ""
	copy(run, args)
	for i, arg := range args {
		shown[i] = arg
		if strings.ContainsAny(arg, " {}\\\"") {
			shown[i] = "'" + arg + "'"
		}
		if i > 0 && args[i-1] == "-f" {
			content, err := s.read(arg)
			if err != nil {
				return err
			}
			run[i], stdin = "-", content
		}
	}
	s.say("$ kubectl --context %s %s", cluster, strings.Join(shown, " "))
	stdout, stderr, err := s.mesh.Cluster(cluster).Kubectl(ctx, stdin, append([]string{"--context", cluster}, run...)...)
	s.output = stdout + stderr
	style := green
	if err != nil {
		style = red
	}
	for line := range strings.Lines(s.output) {
		s.say("  %s", s.paint(style, strings.TrimRight(line, "\n")))
	}
	return err
}

func (s *script) read(name string) (string, error) {
	if content, ok := s.written[name]; ok {
		return content, nil
	}
	content, err := files.ReadFile(name)
	return string(content), err
}

// has reports what the last output lacks.
func (s *script) has(want ...string) error {
	for _, w := range want {
		if !strings.Contains(s.output, w) {
			return fmt.Errorf("the output must contain %q", w)
		}
	}
	return nil
}
