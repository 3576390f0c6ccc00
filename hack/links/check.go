package main

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// tree is the files of the repository.
type tree struct {
	fsys  fs.FS
	files []string
	// anchors maps a Markdown file to what a link can name in it.
	anchors map[string]map[string]bool
}

// check returns what is wrong, a line for each problem.
func check(fsys fs.FS, files []string) ([]string, error) {
	t := &tree{fsys, files, map[string]map[string]bool{}}
	var problems []string
	for _, file := range files {
		if !textual(file) {
			continue
		}
		data, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, err
		}
		for i, line := range strings.Split(string(data), "\n") {
			for _, broken := range t.broken(file, line) {
				problems = append(problems, fmt.Sprintf("%s:%d: %s", file, i+1, broken))
			}
		}
	}
	return problems, nil
}

// textual reports whether a file is text that cites pages. Of what is in testdata, which cites none, that is a page itself.
func textual(file string) bool {
	return path.Ext(file) == ".md" || path.Base(file) == "Makefile" || path.Base(file) == "Dockerfile" ||
		slices.Contains([]string{".go", ".yaml", ".sh", ".txtar"}, path.Ext(file)) && !strings.Contains(file, "testdata/")
}

// broken returns what a line cites that does not exist.
func (t *tree) broken(file, line string) []string {
	var found []string
	if path.Ext(file) == ".md" {
		for _, match := range link().FindAllStringSubmatch(line, -1) {
			if problem := t.follow(file, match[1]); problem != "" {
				found = append(found, problem)
			}
		}
		return found
	}
	if path.Ext(file) == ".go" {
		if strings.HasSuffix(file, "_test.go") {
			return nil // tests name files that they make themselves
		}
		_, comment, ok := strings.Cut(line, "//")
		if !ok {
			return nil
		}
		line = comment
	}
	line = regexp.MustCompile(`https?://\S+`).ReplaceAllString(line, "")
	for _, name := range mention().FindAllString(line, -1) {
		if !t.exists(name) && !t.exists(path.Join(path.Dir(file), name)) {
			found = append(found, name+" does not exist")
		}
	}
	return found
}

// link matches a link in Markdown that leads to a file of the repository.
func link() *regexp.Regexp { return regexp.MustCompile(`\]\(([^)\s:]+)\)`) }

// mention matches the name of a page in a comment.
func mention() *regexp.Regexp { return regexp.MustCompile(`[A-Za-z0-9][A-Za-z0-9_./-]*\.md\b`) }

// follow says what is wrong with a link; empty where nothing is.
func (t *tree) follow(from, link string) string {
	name, anchor, _ := strings.Cut(link, "#")
	target := path.Join(path.Dir(from), name)
	if name == "" {
		target = from
	}
	switch {
	case !t.exists(target):
		return link + " leads to no file"
	case anchor != "" && path.Ext(target) == ".md" && !t.anchorsOf(target)[anchor]:
		return link + " leads to no place in " + target
	}
	return ""
}

// exists reports whether a file or a folder is in the repository.
func (t *tree) exists(name string) bool {
	return name == "." || slices.ContainsFunc(t.files, func(file string) bool { return file == name || strings.HasPrefix(file, name+"/") })
}

// anchorsOf returns what links to a page can name: its headings, as GitHub writes them, and the ids in it.
func (t *tree) anchorsOf(page string) map[string]bool {
	if anchors, ok := t.anchors[page]; ok {
		return anchors
	}
	data, err := fs.ReadFile(t.fsys, page)
	if err != nil {
		return nil
	}
	anchors := map[string]bool{}
	for _, match := range regexp.MustCompile(`(?m)^#+ (.*)$|<a id="([^"]+)">`).FindAllStringSubmatch(string(data), -1) {
		heading := regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(match[1]), "")
		anchors[strings.ReplaceAll(heading, " ", "-")], anchors[match[2]] = true, true
	}
	t.anchors[page] = anchors
	return anchors
}
