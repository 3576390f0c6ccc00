package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/audit"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/inject"
	"github.com/meshfence/meshfence/policy/object"
)

func newExplain() *cobra.Command {
	var flags clusterFlags
	var namespace string
	command := &cobra.Command{
		Use:   "explain [NAMESPACE/]SERVICE",
		Short: "Show the fence of a Service, where it comes from, what holds it and what would leak",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, arguments []string) error {
			host := hostname.Host{Namespace: namespace, Name: arguments[0]}
			if in, name, ok := strings.Cut(arguments[0], "/"); ok {
				host = hostname.Host{Namespace: in, Name: name}
			}
			auditor, err := flags.auditor(command.Context())
			if err != nil {
				return err
			}
			service := corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: host.Namespace, Name: host.Name}}
			err = auditor.Reader.Get(command.Context(), client.ObjectKeyFromObject(&service), &service)
			absent := apierrors.IsNotFound(err) && auditor.Index.View().Service(host, nil).Fence == policy.Strict
			if err != nil && !absent {
				return fmt.Errorf("get Service %s/%s: %w", host.Namespace, host.Name, err)
			}
			return explain(command.Context(), command.OutOrStdout(), auditor, &service, absent)
		},
	}
	flags.addTo(command.Flags())
	command.Flags().StringVarP(&namespace, "namespace", "n", "default", "namespace of the Service")
	return command
}

func explain(ctx context.Context, out io.Writer, auditor *audit.Auditor, service *corev1.Service, absent bool) error {
	view, config := auditor.Index.View(), auditor.Index.Config()
	host := hostname.Host{Namespace: service.Namespace, Name: service.Name}
	decision := view.Service(host, service.Annotations)
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(table, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	line("Host", "%s", host.FQDN(config.ClusterDomain))
	line("Fence", "%s (%s)", decision.Fence, decision.By)
	if absent {
		line("Service", "is not in this cluster: where another one has it, clients here that know the host by DNS capture or a route are sent there, unless something holds it")
	}
	if decision.Ignored != "" {
		line("Ignored", "%s, whose value is unknown", decision.Ignored)
	}
	if decision.Locked {
		line("Locked", "a locked entry of the FenceConfig matches: the fence can be tightened only")
	}
	for _, h := range audit.HoldReports(config) {
		line("Hold "+h.Hold, "%s", stateOf(h))
	}
	if decision.Fence == policy.Strict {
		held, lacks := inject.Held(host, view)
		line("Held by", "%s", cmp.Or(held.String(), "nothing"))
		for _, l := range lacks {
			line("Not held", "%s [%s]", l.Message, l.Reason)
		}
	}
	line("Enforcement", "%s", view.Enforcement(host.Namespace, decision.Locked))
	var found []audit.Result
	if !absent {
		existing, err := auditor.Service(service)
		if err != nil {
			return err
		}
		found = append(found, existing)
	}
	for _, o := range view.Related(host) {
		if what := injected(o); what != "" {
			line("Injected", "%s %s/%s: %s", o.Kind, o.Metadata.Namespace, o.Metadata.Name, what)
		}
		about, err := auditor.About(ctx, o.Key(), host.FQDN(config.ClusterDomain))
		if err != nil {
			return err
		}
		found = append(found, about)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, s := range found {
		if err := writeResult(out, s); err != nil {
			return err
		}
	}
	return nil
}

// injected says what meshfence did to an object; empty where it did nothing.
func injected(o *object.Object) string {
	if inject.IsCompanion(o.Metadata.Name, o.Metadata.Labels) {
		return "companion"
	}
	return o.Metadata.Annotations[policy.InjectedAnnotation]
}
