// Command links checks that pages, and comments that cite pages, name only what exists: the links of every Markdown file,
// with their anchors, and every Markdown file that the text of another file names.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"os/exec"
)

func main() {
	log.SetFlags(0)
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		log.Fatalf("list the files: %v", err)
	}
	var files []string
	for name := range bytes.SplitSeq(bytes.Trim(out, "\x00"), []byte{0}) {
		if _, err := os.Stat(string(name)); err == nil {
			files = append(files, string(name))
		}
	}
	problems, err := check(os.DirFS("."), files)
	if err != nil {
		log.Fatal(err)
	}
	for _, problem := range problems {
		fmt.Fprintln(os.Stderr, problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}
