package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/uninstall"
)

// uninstallQPS is how many requests a second are made at most.
const uninstallQPS = 50

func newUninstall() *cobra.Command {
	var flags clusterFlags
	var yes bool
	var output string
	var wait time.Duration
	command := &cobra.Command{
		Use:   "uninstall",
		Short: "Take meshfence out of the cluster: show what would be done, or with --yes do it",
		Long: `Take back what meshfence has put into the objects of the cluster: routes, subsets, labels and annotations, companions,
and the entries of the mesh ConfigMaps. What users wrote stays, the labels and annotations too by which they ask for
fences, which nothing reads any more.

Without --yes it says object by object what would be done, and writes nothing. With --yes it first deletes the webhook
configurations and scales the Deployment to 0, so that nothing is refused and nobody puts back what is taken out. It may
be cut short at any moment and run again. The command that removes the rest of the installation is printed at the end.

Exit code 0: nothing of meshfence is left in the objects of users; 1: something is, or would be taken back; 2: an error.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			write, ok := map[string]func(io.Writer, uninstall.Plan) error{"text": writeUninstall, "json": writeUninstallJSON}[output]
			if !ok {
				return fmt.Errorf("--output %q must be text or json", output)
			}
			progress := command.OutOrStdout()
			if output == "json" {
				progress = command.ErrOrStderr()
			}
			u, err := flags.uninstaller(command.Context(), progress, wait)
			if err != nil {
				return err
			}
			if yes {
				if err := u.Apply(command.Context()); err != nil {
					return err
				}
			}
			plan, err := u.Plan(command.Context())
			if err != nil {
				return err
			}
			return write(command.OutOrStdout(), plan)
		},
	}
	flags.addTo(command.Flags())
	command.Flags().BoolVar(&yes, "yes", false, "do it")
	command.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	command.Flags().DurationVar(&wait, "wait", 2*time.Minute, "how long the Pods of meshfence may take to end")
	return command
}

// uninstaller works without a FenceConfig, too, because the namespace that it was in may be gone.
func (f *clusterFlags) uninstaller(ctx context.Context, out io.Writer, wait time.Duration) (*uninstall.Uninstaller, error) {
	restConfig, err := f.kubeconfig.load()
	if err != nil {
		return nil, err
	}
	restConfig.QPS, restConfig.Burst = uninstallQPS, uninstallQPS
	api, err := client.New(restConfig, client.Options{})
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	config, err := f.readConfig(ctx, api)
	if err != nil && f.config != "" {
		return nil, err
	}
	if err != nil {
		config = &policy.Config{IstioNamespace: "istio-system", ClusterDomain: "cluster.local"}
		fmt.Fprintf(os.Stderr, "meshfence: %v; without it Istio is looked for in %s, unless --config names a file\n", err, config.IstioNamespace)
	}
	return uninstall.New(uninstall.Options{
		Client: api, Install: installed(f.installNamespace), Config: config,
		Settle: controller.DefaultSettle, Wait: wait, Out: out,
	}), nil
}

// writeUninstall writes a plan, which after all is done is what is left.
func writeUninstall(out io.Writer, plan uninstall.Plan) error {
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		fmt.Fprintln(out, title)
		for _, line := range lines {
			fmt.Fprintln(out, "  "+line)
		}
	}
	var changes []string
	for _, c := range plan.Changes {
		changes = append(changes, c.String())
	}
	section("stop, so that nothing is refused or put back meanwhile:", plan.Install.Steps())
	section("then take back:", changes)
	section("only you can do this:", plan.Left)
	if plan.Asking > 0 {
		fmt.Fprintf(out, "%d labels of Namespaces and annotations of Services %s ask for fences: they are yours, and stay\n", plan.Asking, policy.FenceKey)
	}
	if isLeft(plan) {
		fmt.Fprintln(out, "run it with --yes to do this, again if it was cut short")
		return errDenied
	}
	_, err := fmt.Fprintf(out, "nothing of meshfence is left in the objects of users; remove what is left of the installation:\n\n    %s\n",
		strings.Join(removal(plan.Install), "\n    "))
	return err
}

// isLeft reports whether a plan has something to do.
func isLeft(plan uninstall.Plan) bool {
	return plan.Install.Runs() || len(plan.Changes)+len(plan.Left) > 0
}

// removal returns the commands that remove what is left of an installation then.
func removal(of uninstall.Install) []string {
	if release := of.Helm(); release != "" {
		namespace := of.Deployment.Namespace
		return []string{ // Helm leaves the namespace, and what it did not make in it
			fmt.Sprintf("helm uninstall %s -n %s", release, namespace),
			fmt.Sprintf("kubectl delete --ignore-not-found -n %s secret/meshfence-ca lease/meshfence configmap/meshfence", namespace),
		}
	}
	if of.Deployment != nil && slices.ContainsFunc(of.Deployment.ManagedFields, func(f metav1.ManagedFieldsEntry) bool { return f.Manager == install.FieldManager }) {
		return []string{fmt.Sprintf("meshfence install --install-namespace %s | kubectl delete --ignore-not-found -f -", of.Deployment.Namespace)}
	}
	return []string{"kubectl delete -k <the overlay that you installed>"}
}

// uninstallJSON is the form of -o json: what is done, or after --yes what is left.
type uninstallJSON struct {
	Stop     []string            `json:"stop"`
	TakeBack []uninstallTakeBack `json:"takeBack"`
	// Left is what only a user can do.
	Left []string `json:"left"`
	// Asking counts the labels and annotations by which users ask for fences, which stay.
	Asking int `json:"asking"`
	// Remove are the commands that remove what is left of the installation; none before all is taken back.
	Remove []string `json:"remove"`
}

// uninstallTakeBack is a change of an object, or its deletion.
type uninstallTakeBack struct {
	Kind      string   `json:"kind"`
	Namespace string   `json:"namespace,omitempty"`
	Name      string   `json:"name"`
	Delete    bool     `json:"delete"`
	Changes   []string `json:"changes"`
}

func writeUninstallJSON(out io.Writer, plan uninstall.Plan) error {
	report := uninstallJSON{
		Stop: append([]string{}, plan.Install.Steps()...), TakeBack: []uninstallTakeBack{}, Left: append([]string{}, plan.Left...),
		Asking: plan.Asking, Remove: []string{},
	}
	for _, c := range plan.Changes {
		report.TakeBack = append(report.TakeBack, uninstallTakeBack{
			Kind: c.Kind, Namespace: c.Namespace, Name: c.Name, Delete: len(c.Details) == 0, Changes: append([]string{}, c.Details...),
		})
	}
	left := isLeft(plan)
	if !left {
		report.Remove = removal(plan.Install)
	}
	if err := encode(out, report); err != nil || !left {
		return err
	}
	return errDenied
}
