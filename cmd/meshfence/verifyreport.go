package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/meshfence/meshfence/xds"
)

// writeReports writes a table, then a block for each path that leaves, then what else there is to know.
func writeReports(out io.Writer, reports []xds.Report) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	var details strings.Builder
	fmt.Fprintln(table, "HOST\tFENCE\tCLUSTER\tKIND\tNAMESPACE\tRESULT\tDETAIL")
	for _, r := range reports {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Host, r.Fence, r.Cluster, r.Kind, r.Namespace, r.Result, detail(r))
		for _, leak := range r.Leaks {
			writeLeak(&details, "leak", r, leak)
		}
		for _, leak := range r.Unrouted {
			writeLeak(&details, "by name only", r, leak)
		}
	}
	writeNotes(&details, reports)
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(out, details.String())
	return err
}

// writeNotes writes what is the same for many hosts of a client once.
func writeNotes(out io.Writer, reports []xds.Report) {
	type note struct{ client, text string }
	hosts := map[note][]string{}
	var order []note
	for _, r := range reports {
		for _, text := range r.Notes {
			key := note{reportClient(r), text}
			if hosts[key] == nil {
				order = append(order, key)
			}
			hosts[key] = append(hosts[key], r.Host)
		}
	}
	for _, key := range order {
		of := hosts[key][0]
		if more := len(hosts[key]) - 1; more > 0 {
			of = fmt.Sprintf("%s and %d more", of, more)
		}
		fmt.Fprintf(out, "\nnote: %s from %s: %s\n", of, key.client, key.text)
	}
}

// reportClient names the client of a report.
func reportClient(r xds.Report) string {
	text := fmt.Sprintf("%s of %s", r.Kind, r.Cluster)
	if r.Namespace != "" {
		text += " in " + r.Namespace
	}
	return text
}

func detail(r xds.Report) string {
	var parts []string
	if len(r.Labels) > 0 {
		parts = append(parts, labelText(r.Labels))
	}
	if r.Network != "" {
		parts = append(parts, "network "+r.Network)
	}
	if len(r.Leaks) > 0 {
		parts = append(parts, fmt.Sprintf("paths that leave: %d", len(r.Leaks)))
	}
	if len(r.Unrouted) > 0 {
		parts = append(parts, fmt.Sprintf("clusters that would by name: %d", len(r.Unrouted)))
	}
	if len(r.Failover) > 0 {
		parts = append(parts, "failover to "+strings.Join(r.Failover, ", "))
	}
	return strings.Join(parts, "; ")
}

func writeLeak(out io.Writer, title string, r xds.Report, leak xds.Leak) {
	fmt.Fprintf(out, "\n%s: %s from %s of %s: %s\n", title, r.Host, r.Kind, r.Cluster, leak.Reason)
	for _, line := range []struct{ name, value string }{
		{"connection", leak.Probe}, {"listener", leak.Listener}, {"filter chain", leak.FilterChain}, {"route", leak.Route}, {"via", leak.Via}, {"cluster", leak.Cluster},
	} {
		if line.value != "" {
			fmt.Fprintf(out, "  %-12s  %s\n", line.name, line.value)
		}
	}
	for _, endpoint := range leak.Endpoints {
		fmt.Fprintf(out, "  %-12s  %s\n", "endpoint", endpoint)
	}
}

// writeReportsJSON writes an array with one report for each host and client.
func writeReportsJSON(out io.Writer, reports []xds.Report) error {
	return encode(out, reports)
}
