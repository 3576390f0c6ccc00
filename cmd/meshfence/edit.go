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
	files := make([]edited, len(j.texts))
	for i, t := range j.texts {
		after, err := t.edit(j.results)
		if err != nil {
			return nil, err
		}
		files[i] = edited{t, after}
	}
	return files, nil
}

// edit returns the text of a file with the results that come from it.
func (t text) edit(results []result) ([]byte, error) {
	after := t.data
	// Backwards, so that the offsets before a change stay true.
	for end := len(results); end > 0; {
		start := end - 1
		last := results[start]
		for start > 0 && results[start-1].File == last.File && results[start-1].document.offset == last.document.offset {
			start--
		}
		if last.File == t.file {
			document, err := editDocument(last.document, results[start:end])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", last.place, err)
			}
			from := last.document.offset
			after = slices.Concat(after[:from], document, after[from+len(last.document.text):])
		}
		end = start
	}
	return after, nil
}

// editDocument returns the text of a document with the objects in it as they would be stored.
func editDocument(whole value, results []result) ([]byte, error) {
	if !slices.ContainsFunc(results, func(r result) bool { return !bytes.Equal(r.stored, r.json) }) {
		return whole.text, nil
	}
	want := whole.json
	for _, r := range results {
		var err error
		if want, err = withItem(want, r.items, r.stored); err != nil {
			return nil, err
		}
	}
	return splice.Document(whole.text, want)
}

// withItem returns a List with another item in the place that the indexes lead to; without indexes the item itself.
func withItem(list []byte, indexes []int, item json.RawMessage) (json.RawMessage, error) {
	if len(indexes) == 0 {
		return item, nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(list, &members); err != nil {
		return nil, err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(members["items"], &items); err != nil {
		return nil, err
	}
	var err error
	if items[indexes[0]], err = withItem(items[indexes[0]], indexes[1:], item); err != nil {
		return nil, err
	}
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

// store writes the text of an existing file, which keeps its encoding and its mode.
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
