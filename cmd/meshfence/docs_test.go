package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestCommandsInPages: what the pages have users type is what the program takes. A line that stands by itself is a whole command;
// one in the text may lack arguments.
func TestCommandsInPages(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^    (?:kubectl )?meshfence (.*)$`)
	explained := regexp.MustCompile(` {4,}.*| *#.*`)
	span := regexp.MustCompile("`(?:kubectl )?meshfence\\s([^`.]*)`")
	found := map[bool]int{}
	for _, page := range append(pages, "../../README.md", "../../SECURITY.md", "../../examples/README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		check := func(written string, whole bool) {
			found[whole]++
			root := newCommand()
			root.InitDefaultCompletionCmd()
			command, args, err := root.Find(strings.Fields(written))
			if err == nil && command.HasParent() {
				err = command.ParseFlags(args)
			}
			if err == nil && whole {
				err = command.ValidateRequiredFlags()
			}
			if err == nil && whole {
				err = command.ValidateArgs(command.Flags().Args())
			}
			if err != nil {
				t.Errorf("%s: meshfence %s: %v", page, strings.Join(strings.Fields(written), " "), err)
			}
		}
		for _, match := range line.FindAllSubmatch(text, -1) {
			check(explained.ReplaceAllString(string(match[1]), ""), true)
		}
		for _, match := range span.FindAllSubmatch(text, -1) {
			check(string(match[1]), false)
		}
	}
	if found[true] == 0 || found[false] == 0 {
		t.Errorf("found %d lines and %d commands in the text", found[true], found[false])
	}
}
