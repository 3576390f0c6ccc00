package uninstall

import (
	"context"
	"fmt"
	"io"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/webhook/certificate"
)

// rounds is how often all is looked at again, because somebody wrote meanwhile.
const rounds = 5

// Options are what an Uninstaller needs.
type Options struct {
	// Client reads past any cache.
	Client client.Client
	// Install names the webhook configurations and the Service of the installation, which the Deployment shares its name
	// with.
	Install certificate.WebhookConfigurations
	// Config is the FenceConfig; of it only where Istio is counts.
	Config *policy.Config
	// Settle is how long istiod and the proxies get to hear of changed routes before a subset goes.
	Settle time.Duration
	// Wait is how long the Pods of the installation may take to end.
	Wait time.Duration
	// Out is told of every write.
	Out io.Writer
}

// Uninstaller takes an installation out of a cluster.
type Uninstaller struct{ Options }

// New returns an uninstaller.
func New(o Options) *Uninstaller { return &Uninstaller{o} }

// Plan says what Apply would do, and writes nothing.
func (u *Uninstaller) Plan(ctx context.Context) (Plan, error) {
	install, err := u.installed(ctx)
	if err != nil {
		return Plan{}, err
	}
	plan, err := u.observe(ctx)
	plan.Install = install
	return plan, err
}

// Apply does it, as far as it can be done. The error is that it could not go on; a repeated call does.
func (u *Uninstaller) Apply(ctx context.Context) error {
	install, err := u.installed(ctx)
	if err != nil {
		return err
	}
	if err := u.stop(ctx, install); err != nil {
		return err
	}
	for range rounds {
		plan, err := u.observe(ctx)
		if err != nil || len(plan.Changes) == 0 {
			return err
		}
		if again, err := u.change(ctx, plan); err != nil || !again {
			return err
		}
	}
	return nil
}

// change makes the changes of a plan in their order, and reports whether another look may find more to do. What the API
// server refuses is told of and left to that, and so is what must not come before it.
func (u *Uninstaller) change(ctx context.Context, plan Plan) (again bool, err error) {
	var leading []string
	settled := false
	for _, c := range plan.Changes {
		if c.dropsFor(leading) {
			continue
		}
		if c.drops != "" && !settled {
			settled = true
			change.Sleep(ctx, u.Settle)
		}
		if ctx.Err() != nil {
			return again, fmt.Errorf("cut short, run it again: %w", ctx.Err())
		}
		err := u.write(ctx, c)
		switch {
		case err == nil:
			again = true
			fmt.Fprintln(u.Out, c)
		case lost(err):
			return again, fmt.Errorf("%s: %w", c, err)
		default:
			fmt.Fprintf(u.Out, "%s: refused: %v\n", c, err)
			again = again || apierrors.IsConflict(err)
			leading = append(leading, c.leads...)
		}
	}
	return again, nil
}
