package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/doctor"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
)

type doctorFlags struct {
	path             string
	contexts         []string
	installNamespace string
	probeNamespace   string
	hosts            bool
	timeout          time.Duration
	output           string
}

// errNotExamined ends a command that has printed what it could not examine.
var errNotExamined = errors.New("not everything could be examined")

func newDoctor() *cobra.Command {
	var f doctorFlags
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Examine an installation, check by check, and say how to fix what is wrong",
		Long: `Examine an installation, check by check, and say how to fix what is wrong. Nothing is written: whether the API server
calls the webhooks is found by dry runs, which leave nothing. It needs the rights to read, and to create Services and
ServiceEntries for the dry runs; what it may not do it says.

With several --context it examines each cluster, and then in what they differ: own-clusters, same-settings, same-fences.

Exit code 0: nothing failed; 1: a check failed; 2: none failed, but some could not be run, or an error.

The checks:
` + checkList(),
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return f.run(command.Context(), command.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.StringVar(&f.path, "kubeconfig", "", "path of the kubeconfig file")
	flags.StringArrayVar(&f.contexts, "context", nil, "context of the kubeconfig file (repeatable)")
	flags.StringVar(&f.installNamespace, "install-namespace", policy.InstallNamespace, "namespace of the installation")
	flags.StringVar(&f.probeNamespace, "probe-namespace", "", "namespace of the dry runs (default: default, unless that is exempt)")
	flags.BoolVar(&f.hosts, "hosts", false, "list every fenced Service and what holds it, too")
	flags.DurationVar(&f.timeout, "timeout", time.Minute, "how long one cluster may take")
	flags.StringVarP(&f.output, "output", "o", "text", "text or json")
	return command
}

func checkList() string {
	var b strings.Builder
	for _, c := range doctor.Checks() {
		fmt.Fprintf(&b, "  %-20s %s\n", c.ID, c.Summary)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (f *doctorFlags) run(ctx context.Context, out io.Writer) error {
	write, ok := map[string]func(io.Writer, doctorReport) error{"text": writeDoctor, "json": writeDoctorJSON}[f.output]
	if !ok {
		return fmt.Errorf("--output %q must be text or json", f.output)
	}
	contexts := f.contexts
	if len(contexts) == 0 {
		contexts = []string{""}
	}
	var seen []doctor.Observation
	var report doctorReport
	for _, name := range contexts {
		o, err := f.observe(ctx, name)
		if err != nil {
			return err
		}
		seen = append(seen, o)
		report.Results = append(report.Results, doctor.Examine(o)...)
		for _, s := range o.Fences.Value.Report.Services {
			if f.hosts {
				report.Services = append(report.Services, doctorService{o.Cluster, s})
			}
		}
	}
	report.Results = append(report.Results, doctor.Compare(seen)...)
	if err := write(out, report); err != nil {
		return err
	}
	switch doctor.Worst(report.Results) {
	case doctor.Failed:
		return errDenied
	case doctor.Unknown:
		return errNotExamined
	}
	return nil
}

// observe looks at the cluster of one context.
func (f *doctorFlags) observe(ctx context.Context, name string) (doctor.Observation, error) {
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	config, err := (&kubeconfig{path: f.path, context: name}).load()
	if err != nil {
		return doctor.Observation{}, err
	}
	config.QPS, config.Burst = 100, 200 // it asks for each right by itself
	api, err := client.New(config, client.Options{})
	if err != nil {
		return doctor.Observation{}, fmt.Errorf("find the API server: %w", err)
	}
	if err := api.List(ctx, &corev1.NamespaceList{}, client.Limit(1)); err != nil && apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
		return doctor.Observation{}, fmt.Errorf("reach the API server: %w", err)
	}
	observer := &doctor.Observer{
		Cluster: cmp.Or(name, "current"), Namespace: f.installNamespace, ProbeNamespace: f.probeNamespace,
		Client: api, Rest: config,
		Source: policy.ConfigMapSource(f.installNamespace, leak.IDs(leak.Rules())),
		Fences: func(ctx context.Context, config *policy.Config) (doctor.Fences, error) {
			return fences(ctx, api, config)
		},
	}
	return observer.Observe(ctx), nil
}

func fences(ctx context.Context, api client.Client, config *policy.Config) (doctor.Fences, error) {
	auditor, err := scopeOf(ctx, api, config)
	if err != nil {
		return doctor.Fences{}, err
	}
	if err := cluster.ReadObjects(ctx, api, api.RESTMapper(), auditor.Index); err != nil {
		return doctor.Fences{}, err
	}
	report, err := auditor.Audit(ctx)
	return doctor.Fences{Index: auditor.Index, Report: report}, err
}

// doctorReport is the form of -o json.
type doctorReport struct {
	Results  []doctor.Result `json:"results"`
	Services []doctorService `json:"services,omitempty"`
}

// doctorService is a fenced Service of a cluster.
type doctorService struct {
	Cluster string `json:"cluster"`
	audit.FencedService
}

func writeDoctorJSON(out io.Writer, report doctorReport) error { return encode(out, report) }

// writeDoctor writes a line for each result, under the name of each cluster.
func writeDoctor(out io.Writer, report doctorReport) error {
	paint := paintFor(out)
	colors := map[doctor.Outcome]string{doctor.Failed: red, doctor.Warning: yellow, doctor.Unknown: yellow, doctor.OK: ""}
	last := ""
	for _, r := range report.Results {
		if r.Cluster != last {
			last = r.Cluster
			fmt.Fprintf(out, "%s\n", paint(bold, "cluster "+last))
		}
		outcome := fmt.Sprintf("%-8s", r.Outcome)
		if color := colors[r.Outcome]; color != "" {
			outcome = paint(color, outcome)
		}
		fmt.Fprintf(out, "  %s %-19s %s\n", outcome, r.Check, r.Seen)
		if r.Fix != "" {
			fmt.Fprintf(out, "  %8s %-19s fix: %s\n", "", "", r.Fix)
		}
	}
	for _, s := range report.Services {
		held := heldBy(s.FencedService)
		if len(s.Lacks) > 0 {
			held = "nothing: " + s.Lacks[0].Message
		}
		if _, err := fmt.Fprintf(out, "  %s %s/%s is %s (%s), ready here: %d, held by: %s\n", s.Cluster, s.Namespace, s.Name, s.Fence, s.By, s.Ready, held); err != nil {
			return err
		}
	}
	return nil
}
