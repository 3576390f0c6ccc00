package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy/leak"
)

func newRender() *cobra.Command {
	var flags sceneFlags
	command := &cobra.Command{
		Use:   "render -f PATH...",
		Short: "Print manifests as admission would store them",
		Long: `Print manifests as admission would store them, as YAML documents in the order of the input.

The Services and Namespaces among them and the FenceConfig give the scope, and Nodes the localities of hold locality;
no cluster is needed. Findings go to stderr. Exit code 0: nothing is denied; 1: something is; 2: bad usage, bad config or unreadable input.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			judged, err := flags.judge(command.InOrStdin())
			if err != nil {
				return err
			}
			if err := writeYAML(command.OutOrStdout(), judged.results); err != nil {
				return err
			}
			for _, s := range judged.skipped {
				fmt.Fprintf(command.ErrOrStderr(), "meshfence: skipped %s\n", s.Error())
			}
			findings := judged.findings()
			if err := writeText(command.ErrOrStderr(), findings); err != nil {
				return err
			}
			return denied(findings)
		},
	}
	flags.addTo(command)
	if err := command.MarkFlagRequired("filename"); err != nil {
		panic(err) // the flag is defined above
	}
	return command
}

func writeYAML(out io.Writer, results []result) error {
	for _, r := range results {
		document, err := sigsyaml.JSONToYAML(r.stored)
		if err != nil {
			return fmt.Errorf("%s: write YAML: %w", r.place, err)
		}
		if _, err := fmt.Fprintf(out, "---\n%s", document); err != nil {
			return err
		}
	}
	return nil
}

// denied is errDenied when a finding denies.
func denied(findings []located) error {
	for _, f := range findings {
		if f.Severity == leak.Deny {
			return errDenied
		}
	}
	return nil
}
