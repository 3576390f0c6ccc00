package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v2"
	"sigs.k8s.io/json"

	"github.com/meshfence/meshfence/policy/admit"
)

func newRender() *cobra.Command {
	var flags sceneFlags
	var inPlace, diff bool
	command := &cobra.Command{
		Use:   "render -f PATH... [--write | --diff]",
		Short: "Print manifests as admission would store them, or write them so",
		Long: `Print manifests as admission would store them, as YAML documents in the order of the input.

With --write the files themselves are edited, and the names of those that changed are printed: Git then holds what is
stored. Comments, order and formatting of everything else stay as they are. With --diff the same is shown, and nothing is
written. Files of a kustomization are left as they are, since what kustomize makes of them is what counts: see krm.

The Services and Namespaces among them and the FenceConfig give the scope, and Nodes the localities of hold locality;
no cluster is needed. Findings go to stderr. Exit code 0: nothing is denied; 1: something is; 2: bad usage, bad config or unreadable input.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			judged, err := flags.judge(command.InOrStdin())
			if err != nil {
				return err
			}
			write := func(out io.Writer) error { return writeYAML(out, judged.results) }
			switch {
			case inPlace:
				write = judged.writeFiles
			case diff:
				write = judged.writeDiff
			}
			if err := write(command.OutOrStdout()); err != nil {
				return err
			}
			for _, s := range judged.skipped {
				fmt.Fprintf(command.ErrOrStderr(), "meshfence: skipped %s\n", s.Error())
			}
			findings := judged.findings()
			if err := writeText(command.ErrOrStderr(), findings); err != nil {
				return err
			}
			return judged.outcome(findings)
		},
	}
	flags.addTo(command)
	command.Flags().BoolVar(&inPlace, "write", false, "edit the files in place, and print the names of those that changed")
	command.Flags().BoolVar(&diff, "diff", false, "print what --write would change")
	command.MarkFlagsMutuallyExclusive("write", "diff")
	if err := command.MarkFlagRequired("filename"); err != nil {
		panic(err) // the flag is defined above
	}
	return command
}

func writeYAML(out io.Writer, results []result) error {
	for _, r := range results {
		document, err := toYAML(r.stored)
		if err != nil {
			return fmt.Errorf("%s: write YAML: %w", r.place, err)
		}
		if _, err := fmt.Fprintf(out, "---\n%s", document); err != nil {
			return err
		}
	}
	return nil
}

// toYAML writes JSON as sigs.k8s.io/yaml does, which reads it by the parser for YAML: that takes longer than all else.
func toYAML(stored []byte) ([]byte, error) {
	var value any
	if err := json.UnmarshalCaseSensitivePreserveInts(stored, &value); err != nil {
		return nil, err
	}
	return yaml.Marshal(value)
}

// outcome is an error for manifests that no API server takes, since it cannot be told what was meant, and else errDenied when
// a finding denies.
func (j judged) outcome(findings []located) error {
	var errs []error
	for i := range j.manifests {
		m := &j.manifests[i]
		if problem := admit.Misnamed(m.APIVersion, m.Kind); problem != "" {
			at := m.place
			at.Line = j.lines.of(m, []string{"kind"})
			errs = append(errs, fmt.Errorf("%s: %s", at, problem))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if slices.ContainsFunc(findings, located.denies) {
		return errDenied
	}
	return nil
}
