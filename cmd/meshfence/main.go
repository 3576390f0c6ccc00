// Command meshfence keeps the traffic of chosen Services inside their own cluster of a multi-cluster Istio
// mesh: an admission webhook with a controller beside it, and the commands that show what it would do.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit codes, which are a contract.
const (
	exitDenied = 1 // at least one finding denies
	exitError  = 2 // bad usage, bad config, unreadable input
)

// errDenied ends a command whose findings have been printed already.
var errDenied = errors.New("denied")

func main() {
	os.Exit(run(context.Background(), newCommand()))
}

// run returns the exit code. A signal ends the context of the command.
func run(ctx context.Context, command *cobra.Command) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := command.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errDenied):
		return exitDenied
	case errors.Is(err, errNotExamined):
		return exitError
	}
	fmt.Fprintf(command.ErrOrStderr(), "meshfence: %v\n", err)
	return exitError
}

func newCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "meshfence",
		Short:         "Keep the traffic of chosen Services inside their own cluster",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       thisBuild().Version,
	}
	for _, reader := range []*cobra.Command{newRender(), newCheck(), newTest(), newKRM()} {
		// They wait for the standard input, and for no context: a signal ends the process.
		reader.PreRun = func(*cobra.Command, []string) { signal.Reset(os.Interrupt, syscall.SIGTERM) }
		root.AddCommand(reader)
	}
	root.AddCommand(newServe(), newExplain(), newAudit(), newVerify(), newInstall(), newUninstall(),
		newDoctor(), newRules(), newVersion())
	return root
}
