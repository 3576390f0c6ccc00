package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode"

	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// located is a finding, what admission would do about it, and where its field is in the input.
type located struct {
	leak.Finding

	outcome string
	place
}

// denies reports whether admission would refuse the object for the finding.
func (l located) denies() bool { return l.outcome == leak.OutcomeDenied }

// verb says in a word what becomes of the object.
func (l located) verb() string {
	switch l.outcome {
	case leak.OutcomeDenied:
		return "deny"
	case leak.OutcomeAudited:
		return "audit"
	}
	return "warn"
}

// about returns the object, the field and what is wrong in it, in one line.
func (l located) about() string {
	return fmt.Sprintf("%s: %s: %s", l.Object, l.Field(), l.Message())
}

// writeText writes a line for each finding, in colour on a terminal.
func writeText(out io.Writer, findings []located) error {
	paint := paintFor(out)
	for _, f := range findings {
		color := red
		if !f.denies() {
			color = yellow
		}
		_, err := fmt.Fprintf(out, "%s: %s: %s: %s: %s\n", paint(bold, printable(f.place.String())), paint(color, f.verb()),
			printable(f.Object.String()), paint(bold, printable(f.Field())), printable(f.Message()))
		if err != nil {
			return err
		}
	}
	return nil
}

// printable escapes what a terminal or a log would take for more than text. Whoever wrote the manifests is not trusted.
func printable(text string) string {
	isOdd := func(r rune) bool { return !unicode.IsPrint(r) }
	if !strings.ContainsFunc(text, isOdd) {
		return text
	}
	var escaped strings.Builder
	for _, r := range text {
		if isOdd(r) {
			escaped.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		} else {
			escaped.WriteRune(r)
		}
	}
	return escaped.String()
}

// findingJSON is a finding in the output of check and audit.
type findingJSON struct {
	Rule string `json:"rule"`
	// Outcome is what admission would do about it: denied, warned, audited or exempted.
	Outcome string `json:"outcome"`
	// Severity is that of the rule: deny or warn.
	Severity string `json:"severity"`
	// Kind, Namespace and Name are those of the object.
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Field is the path of the field, such as spec.subsets[1].labels[topology.istio.io/cluster].
	Field string `json:"field"`
	// Host is the tightest of the fenced hosts that it touches, Hosts lists them, the tightest first, and MoreHosts says how
	// many there are beyond those, or with MoreHostsAtLeast how many at least.
	Host             string   `json:"host,omitempty"`
	Hosts            []string `json:"hosts,omitempty"`
	MoreHosts        int      `json:"moreHosts,omitempty"`
	MoreHostsAtLeast bool     `json:"moreHostsAtLeast,omitempty"`
	// More says how many findings like this one are left out after it.
	More int `json:"more,omitempty"`
	// Message says it all in one text; Must, Why and Fix are its parts.
	Message string `json:"message"`
	Must    string `json:"must"`
	Why     string `json:"why,omitempty"`
	Fix     string `json:"fix,omitempty"`
	// Place is where the field is in the input of check.
	Place *placeJSON `json:"place,omitempty"`
}

// placeJSON is a place in a file.
type placeJSON struct {
	File string `json:"file"`
	Line int    `json:"line"`
	// Item is the place in a List, such as items[2].
	Item string `json:"item,omitempty"`
}

func newFindingJSON(f leak.Finding, outcome string) findingJSON {
	return findingJSON{
		Rule: f.Rule, Outcome: outcome, Severity: string(f.Severity),
		Kind: object.APIKind(f.Object.Kind), Namespace: f.Object.Namespace, Name: f.Object.Name, Field: f.Field(),
		Host: f.Host.Host, Hosts: f.Host.Hosts(), MoreHosts: f.Host.More, MoreHostsAtLeast: f.Host.AtLeast, More: f.More,
		Message: f.Message(), Must: f.Must, Why: f.Why, Fix: f.Fix,
	}
}

// writeJSON writes an array of findings; an empty one where there are none.
func writeJSON(out io.Writer, findings []located) error {
	list := make([]findingJSON, len(findings))
	for i, f := range findings {
		list[i] = newFindingJSON(f.Finding, f.outcome)
		list[i].Place = &placeJSON{f.File, f.Line, f.Item}
	}
	return encode(out, list)
}

// encode writes indented JSON.
func encode(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}
