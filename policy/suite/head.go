package suite

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// head is what the comments at the start of a section say.
type head struct {
	configs   []string
	without   []string
	writer    string
	operation Operation
	expect    Expectation
	// latest is the outcome that was named last.
	latest Outcome
}

const (
	commentMark = "#"
	findingMark = "#   "
)

// parseHead reads the comments before the first object.
func parseHead(data []byte) (head, error) {
	var h head
	directive := regexp.MustCompile(`^# ([a-z]+):(.*)$`)
	number := 0
	for raw := range bytes.Lines(data) {
		number++
		line := strings.TrimRight(string(raw), " \t\r\n")
		if line == "" {
			continue
		}
		if !strings.HasPrefix(line, commentMark) {
			break
		}
		var err error
		if finding, ok := strings.CutPrefix(line, findingMark); ok {
			err = h.finding(strings.TrimSpace(finding))
		} else if match := directive.FindStringSubmatch(line); match != nil {
			err = h.set(match[1], strings.TrimSpace(match[2]))
		}
		if err != nil {
			return head{}, &lineError{number, err}
		}
	}
	return h, nil
}

func (h *head) set(directive, value string) error {
	switch directive {
	case "config":
		h.configs = append(h.configs, value)
	case "without":
		for title := range strings.SplitSeq(value, ",") {
			h.without = append(h.without, strings.TrimSpace(title))
		}
	case "as":
		h.writer = value
	case "operation":
		if h.operation = Operation(value); h.operation != Delete && h.operation != Audit {
			return fmt.Errorf("operation %q must be one of delete, audit", value)
		}
	case "expect":
		return h.outcome(strings.Fields(value))
	default:
		return fmt.Errorf("%q must be one of as, config, expect, operation, without", directive)
	}
	return nil
}

// outcome takes an outcome and ids of rules. A case may say what is denied, then what is warned of, and then what is audited.
func (h *head) outcome(words []string) error {
	if len(words) == 0 {
		words = []string{""}
	}
	known := []Outcome{Denied, Warned, Audited, Fixed, Passes}
	milder := known[:3]
	outcome := Outcome(words[0])
	switch {
	case !slices.Contains(known, outcome):
		return fmt.Errorf("expect %q must be one of denied, warned, audited, fixed, passes", words[0])
	case h.expect.Outcome == "":
		h.expect.Outcome = outcome
	case !slices.Contains(milder, h.latest) || slices.Index(milder, outcome) <= slices.Index(milder, h.latest):
		return fmt.Errorf("expect %s must not follow %s", outcome, h.latest)
	}
	h.latest = outcome
	h.expect.Rules = append(h.expect.Rules, words[1:]...)
	return nil
}

// finding takes one that must be there.
func (h *head) finding(text string) error {
	list, ok := map[Outcome]*[]string{
		Denied: &h.expect.Denied, Warned: &h.expect.Warned, Audited: &h.expect.Audited, Fixed: &h.expect.Fixed,
	}[h.latest]
	if !ok {
		return errors.New("a finding must follow an outcome, and not passes")
	}
	*list = append(*list, text)
	return nil
}
