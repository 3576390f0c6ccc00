package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/meshfence/meshfence/test/testbed"
)

// script prints commands as a person would type them, and what came back.
type script struct {
	cluster *testbed.Cluster
	out     io.Writer
	colour  bool
	// output is what the last command printed.
	output string
}

func newScript(out *os.File) *script {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &script{out: out, colour: terminal && os.Getenv("NO_COLOR") == ""}
}

// The styles of a terminal (ECMA-48).
const (
	bold  = "1"
	red   = "31"
	green = "32"
)

func (s *script) paint(style, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (s *script) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

func (s *script) heading(text string) { s.say("\n%s", s.paint(bold, text)) }

// kubectl prints and runs one kubectl command. A file named by -f is one of the demo's own.
func (s *script) kubectl(ctx context.Context, args ...string) error {
	shown, run, stdin := make([]string, len(args)), make([]string, len(args)), ""
	copy(run, args)
	for i, arg := range args {
		shown[i] = arg
		if strings.ContainsAny(arg, " {}\\\"") {
			shown[i] = "'" + arg + "'"
		}
		if i > 0 && args[i-1] == "-f" {
			data, err := files.ReadFile(arg)
			if err != nil {
				return err
			}
			run[i], stdin = "-", string(data)
		}
	}
	s.say("$ kubectl %s", strings.Join(shown, " "))
	stdout, stderr, err := s.cluster.Kubectl(ctx, stdin, run...)
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
