package main

import (
	"strings"
	"testing"

	"golang.org/x/text/encoding/unicode"
)

// What is in a file is read or told of, in whatever form it comes.
func TestForms(t *testing.T) {
	t.Parallel()
	const leak = "serviceentry-fenced-host"
	config := write(t, t.TempDir(), "fenceconfig.yaml", fenceConfig)
	service, entry, _ := strings.Cut(asJSONStream, "\n")
	utf16, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(asJSONStream)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		text   string
		stdout string
		stderr string
		exit   int
	}{
		"one after the other":                 {asJSONStream, leak, "", 1},
		"on one line":                         {service + strings.TrimSpace(entry), leak, "", 1},
		"UTF-16, as PowerShell redirects":     {utf16, leak, "", 1},
		"with a byte order mark":              {"\ufeff" + service + "\n---\n" + entry, leak, "", 1},
		"with carriage returns":               {service + "\r\n---\r\n" + entry, leak, "", 1},
		"with carriage returns alone":         {strings.ReplaceAll(fencedService+"---\n"+leakyRule, "\n", "\r"), `"line": 3`, "", 1},
		"a List in a List":                    {`{"apiVersion":"v1","kind":"List","items":[` + service + `,{"apiVersion":"v1","kind":"List","items":[` + entry + `]}]}`, leak, "", 1},
		"one after the other under a comment": {"# both\n" + asJSONStream, "", "2: more follows the object that begins here", 2},
		"an array":                            {"[" + service + "," + entry + "]", "", "must be a Kubernetes object", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := meshfence(t, c.text, "check", "-o", "json", "-f", "-", "--config", config)
			if code != c.exit || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) {
				t.Errorf("exit %d, want %d; stdout %q; stderr %q", code, c.exit, stdout, stderr)
			}
		})
	}
}
