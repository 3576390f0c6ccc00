// Command rooms checks that the packages import one another as the table of rooms in docs/architecture.md says.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"strings"
)

// page has the table of rooms.
const page = "docs/architecture.md"

func main() {
	log.SetFlags(0)
	text, err := os.ReadFile(page)
	if err != nil {
		log.Fatal(err)
	}
	packages, err := list()
	if err != nil {
		log.Fatal(err)
	}
	problems := check(table(string(text)), packages)
	for _, problem := range problems {
		fmt.Fprintf(os.Stderr, "%s: %s\n", page, problem)
	}
	if len(problems) > 0 {
		os.Exit(1)
	}
}

// list returns the packages of the program, each with those of them that it imports.
func list() (map[string][]string, error) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports,Module", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages: %w", err)
	}
	packages := map[string][]string{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Imports    []string
			Module     struct{ Path string }
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the list of packages: %w", err)
		}
		room, _ := roomOf(p.ImportPath, p.Module.Path)
		if strings.HasPrefix(room, "hack/") || strings.HasPrefix(room, "test/") {
			continue
		}
		packages[room] = nil
		for _, path := range p.Imports {
			if imported, ours := roomOf(path, p.Module.Path); ours {
				packages[room] = append(packages[room], imported)
			}
		}
	}
}

// roomOf returns the folder of a package of the module; ok is false for one of another module.
func roomOf(path, module string) (room string, ok bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}
