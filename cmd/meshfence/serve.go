package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/webhook"
)

// installName is the name of the Service, of both webhook configurations and of the leader election's Lease.
const installName = "meshfence"

// shutdownGrace bounds how long running requests and reconciliations may take after SIGTERM.
const shutdownGrace = 20 * time.Second

// The ways to get a serving certificate.
const (
	selfSigned = "self-signed"
	mounted    = "mounted"
)

type serveFlags struct {
	kubeconfig
	namespace      string
	certificates   string
	certificateDir string
	webhookAddress string
	metricsAddress string
	healthAddress  string
	leaderElect    bool
	backfillRate   float64
	logLevel       slog.Level
}

func newServe() *cobra.Command {
	var f serveFlags
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serve the admission webhook and run the controller",
		Long: `Serve the admission webhook and run the controller.

The FenceConfig is read from the ConfigMap ` + policy.ConfigMapName + ` of the install namespace, and again whenever it changes.
With a bad config at the start it exits with code 2.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return f.serve(command.Context(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	f.kubeconfig.addFlags(flags)
	namespace := cmp.Or(os.Getenv("POD_NAMESPACE"), policy.InstallNamespace)
	flags.StringVarP(&f.namespace, "namespace", "n", namespace, "install namespace (default from POD_NAMESPACE)")
	flags.StringVar(&f.certificates, "certificates", selfSigned, "where the serving certificate comes from: self-signed or mounted")
	flags.StringVar(&f.certificateDir, "certificate-dir", "/etc/meshfence/tls", "folder with tls.crt and tls.key of a mounted certificate")
	flags.StringVar(&f.webhookAddress, "webhook-address", ":9443", "address that the webhook listens on")
	flags.StringVar(&f.metricsAddress, "metrics-address", ":8080", "address of /metrics")
	flags.StringVar(&f.healthAddress, "health-address", ":8081", "address of /healthz and /readyz")
	flags.BoolVar(&f.leaderElect, "leader-elect", false, "elect a leader among the replicas for the parts that write")
	flags.Float64Var(&f.backfillRate, "backfill-rate", controller.DefaultBackfillRate, "objects a second that the backfill writes at most")
	flags.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR")
	return command
}

func (f *serveFlags) serve(ctx context.Context, logs io.Writer) error {
	logger := logr.FromSlogHandler(slog.NewJSONHandler(logs, &slog.HandlerOptions{Level: f.logLevel}))
	ctrl.SetLogger(logger)
	rules := leak.Rules()
	mgr, err := f.manager(ctx, rules)
	if err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	logger.Info("starting", "namespace", f.namespace, "rules", len(rules))
	return mgr.Start(ctx)
}

// manager puts everything together. The FenceConfig is read first: nothing starts on a bad one.
func (f *serveFlags) manager(ctx context.Context, rules []leak.Rule) (ctrl.Manager, error) {
	restConfig, err := f.kubeconfig.load()
	if err != nil {
		return nil, err
	}
	// One limit is for all: a companion costs three requests, and none may keep admission from asking.
	restConfig.QPS, restConfig.Burst = 100, 200
	host, port, err := splitAddress(f.webhookAddress)
	if err != nil {
		return nil, fmt.Errorf("--webhook-address %q: %w", f.webhookAddress, err)
	}
	// The server is made before the certificates, which need the manager; it asks for one only once it serves.
	var certificates *webhook.Certificates
	mgr, err := ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                        scheme.Scheme,
		Cache:                         webhook.CacheOptions(f.namespace),
		Metrics:                       metricsserver.Options{BindAddress: f.metricsAddress},
		HealthProbeBindAddress:        f.healthAddress,
		LeaderElection:                f.leaderElect,
		LeaderElectionID:              installName,
		LeaderElectionNamespace:       f.namespace,
		LeaderElectionReleaseOnCancel: true,
		GracefulShutdownTimeout:       new(shutdownGrace),
		WebhookServer: ctrlwebhook.NewServer(ctrlwebhook.Options{
			Host:    host,
			Port:    port,
			TLSOpts: []func(*tls.Config){func(c *tls.Config) { certificates.ConfigureTLS(c) }},
		}),
	})
	if err != nil {
		return nil, err
	}
	config, err := webhook.LoadConfig(ctx, mgr.GetAPIReader(), webhook.ConfigSource(f.namespace, rules))
	if err != nil {
		return nil, err
	}
	if certificates, err = f.newCertificates(mgr, config.ClusterDomain); err != nil {
		return nil, err
	}
	if err := mgr.AddReadyzCheck("certificate", certificates.Check); err != nil {
		return nil, err
	}
	if err := mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker()); err != nil {
		return nil, err
	}
	counts, err := webhook.NewMetrics(metrics.Registry)
	if err != nil {
		return nil, err
	}
	index := policy.NewIndex(config)
	state, err := webhook.Setup(ctx, mgr, webhook.Options{
		Index:            index,
		Rules:            rules,
		InstallNamespace: f.namespace,
		Metrics:          counts,
	})
	if err != nil {
		return nil, err
	}
	return mgr, controller.Setup(mgr, controller.Options{
		Index:        index,
		Rules:        rules,
		Synced:       state.Synced,
		Registerer:   metrics.Registry,
		BackfillRate: f.backfillRate,
	})
}

func (f *serveFlags) newCertificates(mgr ctrl.Manager, clusterDomain string) (*webhook.Certificates, error) {
	switch f.certificates {
	case selfSigned:
		return webhook.SelfSigned(mgr, webhook.SelfSignedOptions{
			Namespace:      f.namespace,
			Service:        installName,
			ClusterDomain:  clusterDomain,
			Configurations: webhook.WebhookConfigurations{Mutating: installName, Validating: installName},
		})
	case mounted:
		return webhook.Mounted(mgr, f.certificateDir)
	}
	return nil, fmt.Errorf("--certificates %q must be %s or %s", f.certificates, selfSigned, mounted)
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}
