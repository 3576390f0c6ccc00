package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy"
)

func newAudit() *cobra.Command {
	var flags clusterFlags
	var output string
	command := &cobra.Command{
		Use:   "audit",
		Short: "Show every fenced Service of the cluster, what holds it, and everything that would leak",
		Long: `Show whether the holds that the FenceConfig names are true; then every Service that is fenced, by what, how many
ready endpoints this cluster has for it, and what holds it; then every object that admission would refuse or warn of if
it were written now.

Exit code 0: every hold is true, every strict Service is held, and nothing exists that would be refused; 1: something
is not as it should be; 2: an error.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			write, ok := map[string]func(io.Writer, audit.Report) error{"text": writeAudit, "json": writeAuditJSON}[output]
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
			if !sound(report) {
				return errDenied
			}
			return nil
		},
	}
	flags.addTo(command.Flags())
	command.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return command
}

// sound reports whether every hold is true, every strict Service is held, and nothing would be refused.
func sound(report audit.Report) bool {
	return !slices.ContainsFunc(report.Holds, func(h audit.HoldReport) bool { return h.State != policy.HoldTrue }) &&
		!slices.ContainsFunc(report.Services, func(s audit.FencedService) bool { return len(s.Lacks) > 0 }) &&
		!slices.ContainsFunc(report.Results, func(s audit.Result) bool { return len(s.Denied) > 0 })
}

func writeAudit(out io.Writer, report audit.Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "HOLD\tSTATE")
	for _, h := range report.Holds {
		fmt.Fprintf(table, "%s\t%s\n", h.Hold, stateOf(h))
	}
	fmt.Fprintln(table, "\nSERVICE\tFENCE\tBY\tREADY HERE\tHELD BY")
	for _, s := range report.Services {
		note := ""
		if s.Ready == 0 && s.Fence == policy.Strict.String() {
			note = " (calls fail)"
		}
		fmt.Fprintf(table, "%s/%s\t%s\t%s\t%d%s\t%s\n", s.Namespace, s.Name, s.Fence, s.By, s.Ready, note, heldBy(s))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, s := range report.Services {
		for _, l := range s.Lacks {
			if _, err := fmt.Fprintf(out, "not held: Service %s/%s: %s [%s]\n", s.Namespace, s.Name, l.Message, l.Reason); err != nil {
				return err
			}
		}
	}
	for _, s := range report.Results {
		if err := writeResult(out, s); err != nil {
			return err
		}
	}
	return nil
}

// stateOf says how far a hold is true, and why not.
func stateOf(h audit.HoldReport) string {
	if h.Reason == "" {
		return h.State
	}
	return h.State + ": " + h.Reason
}

// heldBy names what holds a strict Service.
func heldBy(s audit.FencedService) string {
	switch {
	case s.Fence != policy.Strict.String():
		return ""
	case len(s.HeldBy) == 0:
		return "nothing"
	}
	return strings.Join(s.HeldBy, ", ")
}

// writeResult writes a line for each finding.
func writeResult(out io.Writer, s audit.Result) error {
	for _, group := range s.ByOutcome() {
		for _, f := range group.Findings {
			_, err := fmt.Fprintf(out, "%s: %s: %s: %s\n", group.Outcome, f.Object, f.Field(), f.Message())
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// auditJSON is the form of -o json.
type auditJSON struct {
	Holds    []audit.HoldReport    `json:"holds"`
	Services []audit.FencedService `json:"services"`
	Leaks    []findingJSON         `json:"leaks"`
}

func writeAuditJSON(out io.Writer, report audit.Report) error {
	j := auditJSON{Holds: report.Holds, Services: append([]audit.FencedService{}, report.Services...), Leaks: []findingJSON{}}
	for _, s := range report.Results {
		for _, group := range s.ByOutcome() {
			for _, f := range group.Findings {
				j.Leaks = append(j.Leaks, newFindingJSON(f, group.Outcome))
			}
		}
	}
	return encode(out, j)
}
