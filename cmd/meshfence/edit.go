package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/aymanbagabas/go-udiff"
	"golang.org/x/text/encoding/unicode"

	"github.com/meshfence/meshfence/splice"
)

// edited is a file, and what it holds once its manifests are as admission would store them.
type edited struct {
	text
	after []byte
}

func (e edited) changed() bool { return !bytes.Equal(e.data, e.after) }

// edit returns the files in their order. Every byte outside of what admission adds stays.
func (j judged) edit() ([]edited, error) {
	of := map[string][]result{}
	for _, r := range j.results {
		of[r.File] = append(of[r.File], r)
	}
	files := make([]edited, len(j.texts))
	for i, t := range j.texts {
		after, err := t.edit(of[t.file])
		if err != nil {
			return nil, err
		}
		files[i] = edited{t, after}
	}
	return files, nil
}

// edit returns the text of a file with the results that come from it.
func (t text) edit(results []result) ([]byte, error) {
	var after []byte
	done := 0 // bytes of the text that are in after
	for len(results) > 0 {
		whole, n := results[0].document, 1
		for n < len(results) && results[n].document.offset == whole.offset {
			n++
		}
		if whole.offset >= done { // else the file was given twice
			document, err := editDocument(whole, results[:n])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", results[0].place, err)
			}
			after = append(append(after, t.data[done:whole.offset]...), document...)
			done = whole.offset + len(whole.text)
		}
		results = results[n:]
	}
	return append(after, t.data[done:]...), nil
}

// editDocument returns the text of a document with the objects in it as they would be stored.
func editDocument(whole value, results []result) ([]byte, error) {
	if !slices.ContainsFunc(results, func(r result) bool { return !bytes.Equal(r.stored, r.json) }) {
		return whole.text, nil
	}
	want, err := withItems(whole.json, results, 0)
	if err != nil {
		return nil, err
	}
	return splice.Document(whole.text, want)
}

// withItems returns a List with other items in the places that the indexes of results lead to, from a depth on; without
// indexes there the one result.
func withItems(list json.RawMessage, results []result, depth int) (json.RawMessage, error) {
	if len(results[0].items) == depth {
		return results[0].stored, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(list, &members); err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(members["items"], &items); err != nil {
		return nil, err
	}
	for len(results) > 0 {
		i, n := results[0].items[depth], 1
		for n < len(results) && results[n].items[depth] == i {
			n++
		}
		var err error
		if items[i], err = withItems(items[i], results[:n], depth+1); err != nil {
			return nil, err
		}
		results = results[n:]
	}
	var err error
	if members["items"], err = json.Marshal(items); err != nil {
		return nil, err
	}
	return json.Marshal(members)
}

// writeFiles edits the files, and prints the names of those that changed. What came from the standard input is printed.
func (j judged) writeFiles(out io.Writer) error {
	files, err := j.edit()
	if err != nil {
		return err
	}
	for _, e := range files {
		switch {
		case e.file == stdin:
			_, err = out.Write(e.after)
		case e.changed():
			if err = store(e.file, e.after); err == nil {
				_, err = fmt.Fprintln(out, e.file)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// store writes the text of an existing file, which keeps its encoding, its mode and line breaks that are carriage returns.
func store(file string, text []byte) error {
	before, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	encoding := unicode.UTF8
	switch {
	case bytes.HasPrefix(before, []byte("\xef\xbb\xbf")):
		encoding = unicode.UTF8BOM
	case bytes.HasPrefix(before, []byte("\xff\xfe")):
		encoding = unicode.UTF16(unicode.LittleEndian, unicode.UseBOM)
	case bytes.HasPrefix(before, []byte("\xfe\xff")):
		encoding = unicode.UTF16(unicode.BigEndian, unicode.UseBOM)
	}
	if bytes.Contains(before, []byte("\r")) && !bytes.Contains(before, []byte("\n")) {
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r"))
	}
	encoded, err := encoding.NewEncoder().Bytes(text)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.WriteFile(file, encoded, 0o666)
}

// writeDiff prints what writeFiles would change.
func (j judged) writeDiff(out io.Writer) error {
	files, err := j.edit()
	if err != nil {
		return err
	}
	for _, e := range files {
		if _, err := io.WriteString(out, udiff.Unified(e.file, e.file, string(e.data), string(e.after))); err != nil {
			return err
		}
	}
	return nil
}
