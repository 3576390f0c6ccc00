package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	root "github.com/meshfence/meshfence"
	"github.com/meshfence/meshfence/policy/leak"
)

// ruleText is a rule as JSON says it.
type ruleText struct {
	ID       string        `json:"id"`
	Severity leak.Severity `json:"severity"`
	Kinds    []string      `json:"kinds"`
	Summary  string        `json:"summary"`
	Why      string        `json:"why"`
	Fix      string        `json:"fix"`
	// Rows are ids of the catalogue of leaks.
	Rows []string `json:"rows,omitempty"`
	// SilentUnder says under which holds the rule says nothing.
	SilentUnder string `json:"silentUnder,omitempty"`
	// Page is where the page of the rule is.
	Page string `json:"page"`
}

func newRules() *cobra.Command {
	var output string
	command := &cobra.Command{
		Use:   "rules [ID]",
		Short: "List every rule, or show the page of one",
		Long: `List every rule: its id, what becomes of its findings, and what it is about. With an ID, show the page of that rule:
why it matters, what to write instead, an example, and the holds that make it silent.

Exit code 0: the rules are listed; 2: there is no rule of that id, or bad usage.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return fmt.Errorf("--output %q must be text or json", output)
			}
			chosen := leak.Rules()
			if len(args) > 0 {
				chosen = slices.DeleteFunc(chosen, func(r leak.Rule) bool { return r.ID != args[0] })
			}
			switch out := command.OutOrStdout(); {
			case len(chosen) == 0:
				return fmt.Errorf("%q must be the id of a rule; meshfence rules lists them", args[0])
			case output == "json":
				return writeRulesJSON(out, chosen)
			case len(args) > 0:
				_, err := io.WriteString(out, root.RulePage(args[0]))
				return err
			default:
				return writeRules(out, chosen)
			}
		},
	}
	command.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return command
}

// writeRules writes a line for each rule.
func writeRules(out io.Writer, rules []leak.Rule) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "RULE\tSEVERITY\tROWS\tSUMMARY")
	for _, r := range rules {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\n", r.ID, r.Severity, strings.Join(r.Rows, ","), r.Summary)
	}
	return table.Flush()
}

// writeRulesJSON writes an array, also for one rule.
func writeRulesJSON(out io.Writer, rules []leak.Rule) error {
	list := make([]ruleText, len(rules))
	for i, r := range rules {
		list[i] = ruleText{
			ID: r.ID, Severity: r.Severity, Kinds: r.Kinds, Summary: r.Summary, Why: r.Why, Fix: r.Fix,
			Rows: r.Rows, SilentUnder: r.Silence(), Page: rulePage(r.ID),
		}
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(list)
}

// rulePage is the address of the page of a rule.
func rulePage(id string) string { return homepage + "/blob/main/docs/rules/" + id + ".md" }
