package main

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := meshfence(t, "", "version", "-o", "json")
	var got build
	if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != 0 {
		t.Fatalf("exit %d, %v: %s", code, err, stderr)
	}
	if got.Version == "" || got.GoVersion != runtime.Version() || got.Platform != runtime.GOOS+"/"+runtime.GOARCH {
		t.Errorf("got %+v", got)
	}
	if _, stdout, _ := meshfence(t, "", "version"); !strings.HasPrefix(stdout, "meshfence "+got.Version+" (") {
		t.Errorf("as text it is %q", stdout)
	}
	if _, stdout, _ := meshfence(t, "", "--version"); !strings.Contains(stdout, got.Version) {
		t.Errorf("--version prints %q", stdout)
	}
	if code, _, _ := meshfence(t, "", "version", "-o", "yaml"); code != exitError {
		t.Errorf("a form that is none ends with %d", code)
	}
}
