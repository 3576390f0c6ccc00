package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

func newAudit() *cobra.Command {
	var flags clusterFlags
	var output string
	command := &cobra.Command{
		Use:   "audit",
		Short: "Show every fenced Service of the cluster, and everything that would leak",
		Long: `Show every Service that is fenced, by what, and how many ready endpoints this cluster has for it; then every
object that admission would refuse or warn of if it were written now.

Exit code 0: nothing stands that would be refused; 1: something does; 2: an error.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			write, ok := map[string]func(io.Writer, controller.Report) error{"text": writeAudit, "json": writeAuditJSON}[output]
			if !ok {
				return fmt.Errorf("--output %q must be text or json", output)
			}
			auditor, err := flags.auditor(command.Context())
			if err != nil {
				return err
			}
			report, err := auditor.Audit(command.Context())
			if err != nil {
				return err
			}
			if err := write(command.OutOrStdout(), report); err != nil {
				return err
			}
			for _, s := range report.Standing {
				if len(s.Denied) > 0 {
					return errDenied
				}
			}
			return nil
		},
	}
	flags.addTo(command.Flags())
	command.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return command
}

func writeAudit(out io.Writer, report controller.Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "SERVICE\tFENCE\tBY\tREADY HERE")
	for _, s := range report.Services {
		note := ""
		if s.Ready == 0 && s.Fence == policy.Strict.String() {
			note = " (calls fail)"
		}
		fmt.Fprintf(table, "%s/%s\t%s\t%s\t%d%s\n", s.Namespace, s.Name, s.Fence, s.By, s.Ready, note)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, s := range report.Standing {
		if err := writeStanding(out, s); err != nil {
			return err
		}
	}
	return nil
}

// writeStanding writes a line for each finding.
func writeStanding(out io.Writer, s controller.Standing) error {
	for _, group := range s.ByOutcome() {
		for _, f := range group.Findings {
			_, err := fmt.Fprintf(out, "%s: %s %s/%s: %s: %s\n", group.Outcome, f.Kind, f.Namespace, f.Name, f.Field, f.Message)
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// auditJSON is the form of -o json.
type auditJSON struct {
	Services []controller.FencedService `json:"services"`
	Leaks    []outcomeJSON              `json:"leaks"`
}

// outcomeJSON is a finding and what admission would do about it.
type outcomeJSON struct {
	Outcome string `json:"outcome"`
	leak.Finding
}

func writeAuditJSON(out io.Writer, report controller.Report) error {
	j := auditJSON{Services: append([]controller.FencedService{}, report.Services...), Leaks: []outcomeJSON{}}
	for _, s := range report.Standing {
		for _, group := range s.ByOutcome() {
			for _, f := range group.Findings {
				j.Leaks = append(j.Leaks, outcomeJSON{group.Outcome, f})
			}
		}
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(j)
}
