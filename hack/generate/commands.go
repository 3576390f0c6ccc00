package main

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// commands makes the page of the commands and their flags, from what the program itself says of them.
func commands() (pages, error) {
	program := filepath.Join("bin", "meshfence")
	if out, err := exec.Command("make", "-s", "build").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the program: %w: %s", err, out)
	}
	root, err := help(program)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(`# Commands and exit codes

` + "`make generate`" + ` writes this page from the help of the program. The commands work as ` + "`kubectl meshfence ...`" + ` too, if the
program is on the PATH as ` + "`kubectl-meshfence`" + `.

The exit codes are contracts: 0 says that all is well, 1 that something is denied, leaks or is not held, and 2 that the
command could not tell: bad usage, bad config, unreadable input, or no answer.
`)
	for _, name := range subcommands(root) {
		text, err := help(program, name)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "\n## meshfence %s\n\n```text\n%s```\n", name, text)
	}
	return pages{referenceFolder + "/commands.md": b.Bytes()}, nil
}

func help(program string, command ...string) (string, error) {
	out, err := exec.Command(program, append(command, "--help")...).Output()
	if err != nil {
		return "", fmt.Errorf("help of %s: %w", strings.Join(command, " "), err)
	}
	return string(out), nil
}

// subcommands lists the commands that the help of the root names, without those of the flag library.
func subcommands(root string) []string {
	_, section, _ := strings.Cut(root, "Available Commands:\n")
	section, _, _ = strings.Cut(section, "\n\n")
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^  ([a-z]+) `).FindAllStringSubmatch(section, -1) {
		if name := match[1]; name != "completion" && name != "help" {
			names = append(names, name)
		}
	}
	return names
}
