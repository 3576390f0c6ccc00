package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newCheck() *cobra.Command {
	flags := sceneFlags{brief: true}
	var output string
	command := &cobra.Command{
		Use:   "check -f PATH...",
		Short: "Find what would leak in manifests, for CI and pre-commit",
		Long: `Find what admission would refuse or warn of in manifests.

The Services and Namespaces among them and the FenceConfig give the scope, and Nodes the localities of hold locality;
no cluster is needed. A file is read as kubectl reads it: YAML documents, or JSON objects one after the other. What is no
manifest is an error in a file that is named, and skipped with a line on stderr in a folder. More than 256 MiB in all is an
error. So is an apiVersion or a kind of Istio, the Gateway API or Kubernetes that is written as there is none, such as
DestinationRules: it is told of once all else has been judged. A last line on stderr counts what was read.
Exit code 0: nothing is denied; 1: something is; 2: bad usage, bad config or unreadable input.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			write, ok := map[string]func(io.Writer, []located) error{
				"text": writeText, "json": writeJSON, "sarif": writeSARIF, "github": writeGitHub, "junit": writeJUnit,
			}[output]
			if !ok {
				return fmt.Errorf("--output %q must be text, json, sarif, github or junit", output)
			}
			judged, err := flags.judge(command.InOrStdin())
			if err != nil {
				return err
			}
			findings := judged.findings()
			if err := write(command.OutOrStdout(), findings); err != nil {
				return err
			}
			judged.summarize(command.ErrOrStderr(), findings)
			return judged.outcome(findings)
		},
	}
	flags.addTo(command)
	command.Flags().StringVarP(&output, "output", "o", "text", "text, json, sarif, github or junit")
	if err := command.MarkFlagRequired("filename"); err != nil {
		panic(err) // the flag is defined above
	}
	return command
}
