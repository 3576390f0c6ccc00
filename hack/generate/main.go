// Command generate writes the pages under docs that say what the code says: the ledger, a page for each rule, and the
// reference. It writes the dashboard, too, and the Helm chart from the manifests. With -check it writes nothing and fails
// if one of them is not up to date, or if nothing makes it any more.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// pages maps the path of a file to its content.
type pages map[string][]byte

func main() {
	check := flag.Bool("check", false, "fail if a page is not up to date, and write nothing")
	flag.Parse()
	log.SetFlags(0)
	if err := run(*check); err != nil {
		log.Fatal(err)
	}
}

func run(check bool) error {
	want, err := generate()
	if err != nil {
		return err
	}
	stale, err := unmade(want)
	if err != nil {
		return err
	}
	if check {
		return compare(want, stale)
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil {
			return err
		}
	}
	for path, content := range want {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate makes every page.
func generate() (pages, error) {
	code, err := readSource()
	if err != nil {
		return nil, err
	}
	made := pages{}
	for _, part := range []func() (pages, error){
		ledger, rules, code.fenceConfig, code.names, code.metrics, code.events, commands, dashboard, chart,
	} {
		some, err := part()
		if err != nil {
			return nil, err
		}
		maps.Copy(made, some)
	}
	return made, nil
}

// unmade lists the files in the folders that only generated pages are in, and which nothing makes.
func unmade(want pages) ([]string, error) {
	var stale []string
	for _, folder := range []string{rulesFolder, referenceFolder, templatesFolder} {
		have, err := filepath.Glob(filepath.Join(folder, "*"))
		if err != nil {
			return nil, err
		}
		for _, path := range have {
			if _, ok := want[path]; !ok && (folder != templatesFolder || !handwritten(path)) {
				stale = append(stale, path)
			}
		}
	}
	return stale, nil
}

func compare(want pages, stale []string) error {
	var problems []error
	for _, path := range slices.Sorted(maps.Keys(want)) {
		have, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(have, want[path]) {
			problems = append(problems, fmt.Errorf("%s is not up to date: run make generate", path))
		}
	}
	for _, path := range stale {
		problems = append(problems, fmt.Errorf("%s is made by nothing: run make generate", path))
	}
	return errors.Join(problems...)
}
