package suite

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// head is what the comments at the start of a section say.
type head struct {
	configs   []string
	without   []string
	writer    string
	operation Operation
	expect    Expectation
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
			err = h.expect.add(strings.TrimSpace(finding))
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
		return h.expect.set(strings.Fields(value))
	default:
		return fmt.Errorf("%q must be one of as, config, expect, operation, without", directive)
	}
	return nil
}

// set takes an outcome and ids of rules. A case may say both what is denied and then what is warned of.
func (e *Expectation) set(words []string) error {
	if len(words) == 0 {
		words = []string{""}
	}
	switch outcome := Outcome(words[0]); {
	case outcome != Denied && outcome != Warned && outcome != Fixed && outcome != Passes:
		return fmt.Errorf("expect %q must be one of denied, warned, fixed, passes", words[0])
	case e.Outcome == "":
		e.Outcome = outcome
	case e.Outcome != Denied || outcome != Warned || len(e.Denied) == 0:
		return fmt.Errorf("expect %s must not follow %s", outcome, e.Outcome)
	default:
		e.Warned = []string{}
	}
	e.Rules = append(e.Rules, words[1:]...)
	return nil
}

// add takes a finding that must be there.
func (e *Expectation) add(finding string) error {
	switch {
	case e.Outcome == Warned, e.Outcome == Denied && e.Warned != nil:
		e.Warned = append(e.Warned, finding)
	case e.Outcome == Denied:
		e.Denied = append(e.Denied, finding)
	case e.Outcome == Fixed:
		e.Fixed = append(e.Fixed, finding)
	default:
		return errors.New("a finding must follow an outcome, and not passes")
	}
	return nil
}
