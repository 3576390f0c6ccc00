package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/suite"
)

func newTest() *cobra.Command {
	var verbose bool
	var output string
	command := &cobra.Command{
		Use:   "test PATH...",
		Short: "Run cases of your own: a scene, an object, and what admission must make of it",
		Long: `Run the cases of suites: files, and of folders every ` + suite.Extension + ` file below them. A suite has a scene, and cases with a title,
an object and what is expected of it:

  -- scene --
  apiVersion: config.meshfence.io/v1alpha1
  kind: FenceConfig
  controlPlane: {clusters: [east]}
  holds: [meshConfig]
  ---
  apiVersion: v1
  kind: Service
  metadata: {name: reviews, namespace: shop, annotations: {meshfence.io/fence: strict}}

  -- Nobody copies the requests for reviews to another Service. --
  # expect: denied virtualservice-mirror
  apiVersion: networking.istio.io/v1
  kind: VirtualService
  metadata: {name: reviews, namespace: shop}
  spec: {hosts: [reviews], http: [{mirror: {host: details}, route: [{destination: {host: reviews}}]}]}

A case is denied, warned or audited, by the rules that it names, if any; fixed, where admission changes the object so that
nothing is found in it; or it passes. A section "-- stored --" after it is the object as it must be stored. Before the object others of the
scene may be replaced or added; the object itself replaces one of the same name. Further comments of a case:

  # config: {holds: [subset]}      changes of the FenceConfig, one line for each under which the case is tried
  # without: Service shop/reviews  what the scene has and the case has not
  # as: jane                       who writes the object
  # operation: delete              the object is deleted

Exit code 0: all is as expected; 1: some cases differ; 2: bad usage, or a suite that cannot be read.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, paths []string) error {
			write, ok := map[string]func(io.Writer, []trial) error{
				"text": func(out io.Writer, trials []trial) error { return writeTrials(out, trials, verbose) }, "junit": writeTrialsJUnit,
			}[output]
			if !ok {
				return fmt.Errorf("--output %q must be text or junit", output)
			}
			trials, err := tryAll(paths)
			if err != nil {
				return err
			}
			if err := write(command.OutOrStdout(), trials); err != nil {
				return err
			}
			return summarizeTrials(command.ErrOrStderr(), trials)
		},
	}
	command.Flags().BoolVarP(&verbose, "verbose", "v", false, "print the cases that are as expected, too")
	command.Flags().StringVarP(&output, "output", "o", "text", "text or junit")
	return command
}

// trial is a case and what came of it.
type trial struct {
	suite.Case
	// differs says what is not as expected, and details name the findings that are not.
	differs string
	details []string
}

// place is where the case begins.
func (t trial) place() string { return fmt.Sprintf("%s:%d", t.File, t.Line) }

// name is the title of the case, with the config that it was tried under.
func (t trial) name() string {
	if t.Variant == "" {
		return t.Title
	}
	return t.Title + " (config: " + t.Variant + ")"
}

// tryAll reads every suite and tries its cases. The error joins what is wrong in any of them.
func tryAll(paths []string) ([]trial, error) {
	files, err := suiteFiles(paths)
	if err != nil {
		return nil, err
	}
	var cases []suite.Case
	var problems []error
	for _, file := range files {
		data, err := readFile(file, nil, maxInput)
		if err != nil {
			return nil, err
		}
		read, err := suite.Parse(file, data)
		problems = append(problems, err)
		cases = append(cases, read...)
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	rules := leak.Rules()
	guard, now := leak.NewGuard(rules), time.Now()
	trials := make([]trial, len(cases))
	for i, c := range cases {
		got, err := judgeCase(c, guard, leak.IDs(rules), now)
		trials[i].Case = c
		if err != nil {
			problems = append(problems, err)
			continue
		}
		trials[i].differs, trials[i].details = got.differs(c)
	}
	return trials, errors.Join(problems...)
}

// suiteFiles returns the files given, and the suites below the folders given.
func suiteFiles(paths []string) ([]string, error) {
	var files []string
	for _, path := range paths {
		found := len(files)
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && (file == path || filepath.Ext(file) == suite.Extension) {
				files = append(files, file)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(files) == found {
			return nil, fmt.Errorf("%s: holds no %s files", path, suite.Extension)
		}
	}
	return files, nil
}

// writeTrials writes a line for each case that differs, and one for each finding by which it does.
func writeTrials(out io.Writer, trials []trial, verbose bool) error {
	paint := paintFor(out)
	for _, t := range trials {
		switch {
		case t.differs != "":
			fmt.Fprintf(out, "%s: %s: %s\n", paint(bold, t.place()), paint(red, t.differs), t.name())
			for _, d := range t.details {
				fmt.Fprintf(out, "  %s\n", d)
			}
		case verbose:
			fmt.Fprintf(out, "%s: ok: %s\n", paint(bold, t.place()), t.name())
		}
	}
	return nil
}

// writeTrialsJUnit writes a report with every case.
func writeTrialsJUnit(out io.Writer, trials []trial) error {
	report := junitSuite{Name: "meshfence test", Tests: len(trials)}
	for _, t := range trials {
		c := junitCase{Class: t.Suite(), Name: t.name(), File: t.File, Line: t.Line}
		if t.differs != "" {
			report.Failures++
			c.Failure = &junitFailure{Type: "differs", Message: strings.Join(append([]string{t.differs}, t.details...), "\n")}
		}
		report.Cases = append(report.Cases, c)
	}
	return report.write(out)
}

// summarizeTrials counts the cases, and returns an error if some differ.
func summarizeTrials(out io.Writer, trials []trial) error {
	files, differ := map[string]bool{}, 0
	for _, t := range trials {
		files[t.File] = true
		if t.differs != "" {
			differ++
		}
	}
	fmt.Fprintf(out, "meshfence: cases: %d, of files: %d, as expected: %d, not so: %d\n", len(trials), len(files), len(trials)-differ, differ)
	if differ > 0 {
		return errDenied
	}
	return nil
}
