package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/policy/leak"
)

func TestRules(t *testing.T) {
	t.Parallel()
	code, stdout, stderr := meshfence(t, "", "rules")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, r := range leak.Rules() {
		if !strings.Contains(stdout, "\n"+r.ID+" ") || !strings.Contains(stdout, r.Summary) {
			t.Errorf("%s is not listed", r.ID)
		}
	}
}

// The page of a rule is that of the documentation.
func TestRulesShowsThePage(t *testing.T) {
	t.Parallel()
	for _, id := range leak.IDs(leak.Rules()) {
		page, err := os.ReadFile("../../docs/rules/" + id + ".md")
		if err != nil {
			t.Fatal(err)
		}
		code, stdout, stderr := meshfence(t, "", "rules", id)
		if diff := cmp.Diff(string(page), stdout); diff != "" || code != 0 {
			t.Errorf("exit code %d: %s, page of %s (-want +got):\n%s", code, stderr, id, diff)
		}
	}
}

func TestRulesAsJSON(t *testing.T) {
	t.Parallel()
	_, stdout, _ := meshfence(t, "", "rules", "-o", "json")
	var got []ruleText
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	if want := len(leak.Rules()); len(got) != want {
		t.Errorf("lists %d rules, want %d", len(got), want)
	}
	_, stdout, _ = meshfence(t, "", "rules", "pod-locality", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	want := []ruleText{{
		ID: "pod-locality", Severity: leak.Deny, Kinds: []string{"Pod"}, Rows: []string{"E7", "D7"}, SilentUnder: "meshConfig, subset",
		Page: "https://github.com/meshfence/meshfence/blob/main/docs/rules/pod-locality.md",
	}}
	for i := range got {
		if got[i].Summary == "" || got[i].Why == "" || got[i].Fix == "" {
			t.Errorf("%s says nothing", got[i].ID)
		}
		got[i].Summary, got[i].Why, got[i].Fix = "", "", ""
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestRulesBadUsage(t *testing.T) {
	t.Parallel()
	for name, arguments := range map[string][]string{
		"unknown rule":   {"rules", "wrong"},
		"two rules":      {"rules", "pod-locality", "pod-foreign-network"},
		"unknown output": {"rules", "-o", "xml"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if code, stdout, stderr := meshfence(t, "", arguments...); code != exitError || stdout != "" || stderr == "" {
				t.Errorf("exit code %d, want %d; printed %q and %q", code, exitError, stdout, stderr)
			}
		})
	}
}
