package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/recorder"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/controller"
	"github.com/meshfence/meshfence/controller/election"
	"github.com/meshfence/meshfence/controller/notice"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
	"github.com/meshfence/meshfence/registry"
	"github.com/meshfence/meshfence/webhook"
	"github.com/meshfence/meshfence/webhook/certificate"
)

const (
	// shutdownGrace bounds how long running requests and reconciliations may take after SIGTERM.
	shutdownGrace = 20 * time.Second
	// configTimeout bounds one attempt to read the FenceConfig.
	configTimeout = 10 * time.Second
)

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
	clientCAFile   string
	clientNames    []string
	metricsAddress string
	metricsAuth    bool
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
Without one, or while the API server is away, it waits, is not ready, and says why in its log and at /readyz.
With a bad config at the start it exits with code 2.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return f.serve(command.Context(), command.ErrOrStderr())
		},
	}
	flags := command.Flags()
	f.kubeconfig.addFlags(flags)
	namespace := cmp.Or(os.Getenv("POD_NAMESPACE"), policy.InstallNamespace)
	flags.StringVar(&f.namespace, "install-namespace", namespace, "namespace of meshfence itself (default from POD_NAMESPACE)")
	flags.StringVar(&f.certificates, "certificates", selfSigned, "where the serving certificate comes from: self-signed or mounted")
	flags.StringVar(&f.certificateDir, "certificate-dir", "/etc/meshfence/tls", "folder with tls.crt and tls.key of a mounted certificate")
	flags.StringVar(&f.webhookAddress, "webhook-address", ":9443", "address that the webhook listens on")
	flags.StringVar(&f.clientCAFile, "client-ca-file", "", "file with the CAs of those who may call the webhook, which is then refused to clients without a certificate of theirs")
	flags.StringSliceVar(&f.clientNames, "client-names", nil, "common names or DNS names of which such a certificate must have one (default: any)")
	flags.StringVar(&f.metricsAddress, "metrics-address", ":8080", "address of /metrics")
	flags.BoolVar(&f.metricsAuth, "metrics-auth", false, "serve metrics over TLS, to those whose token may get /metrics (TokenReview, SubjectAccessReview)")
	flags.StringVar(&f.healthAddress, "health-address", ":8081", "address of /healthz and /readyz")
	flags.BoolVar(&f.leaderElect, "leader-elect", false, "elect a leader among the replicas for the parts that write")
	flags.Float64Var(&f.backfillRate, "backfill-rate", controller.DefaultBackfillRate, "objects a second that the backfill writes at most")
	flags.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR")
	return command
}

func (f *serveFlags) serve(ctx context.Context, logs io.Writer) error {
	logger := logr.FromSlogHandler(newLogs(logs, f.logLevel))
	ctrl.SetLogger(logger)
	if err := f.checkCertificates(); err != nil {
		return err
	}
	limitMemory(logger)
	restConfig, err := f.kubeconfig.load()
	if err != nil {
		return err
	}
	// What the controller sends; admission asks by a client of its own.
	restConfig.QPS, restConfig.Burst = 100, 200
	rules := leak.Rules()
	logger.Info("starting", "namespace", f.namespace, "rules", len(rules))
	probes := newProbes(logger, checkConfig, "the FenceConfig has not been read")
	// The probes are answered until the end, also while requests are finished after SIGTERM.
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	if err := probes.start(serving, f.healthAddress); err != nil {
		return err
	}
	config, stale, err := f.awaitConfig(ctx, restConfig, policy.ConfigMapSource(f.namespace, leak.IDs(rules)), probes)
	if err != nil {
		return untilStopped(ctx, err)
	}
	mgr, err := f.manager(ctx, restConfig, config, stale, rules, probes)
	if err != nil {
		return untilStopped(ctx, err)
	}
	return mgr.Start(ctx)
}

// untilStopped hides the error of what the end of the context cut short.
func untilStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// awaitConfig waits until the API server answers and there is a FenceConfig, be it the last good one; stale says why it is
// that. A bad one without a good one before it is an error.
func (f *serveFlags) awaitConfig(ctx context.Context, restConfig *rest.Config, source policy.Source, probes *probes) (config *policy.Config, stale, err error) {
	// No discovery: what it needs of the API server may be away for longer than a ConfigMap.
	mapper := meta.NewDefaultRESTMapper(nil)
	mapper.Add(corev1.SchemeGroupVersion.WithKind(object.KindConfigMap), meta.RESTScopeNamespace)
	api, err := client.New(restConfig, client.Options{Mapper: mapper})
	if err != nil {
		return nil, nil, fmt.Errorf("client: %w", err)
	}
	var bad *policy.ConfigError
	err = cluster.Retry(ctx, ctrl.Log, "read the FenceConfig", func() (err error) {
		reading, cancel := context.WithTimeout(ctx, configTimeout)
		defer cancel()
		config, stale, err = cluster.StartConfig(reading, api, source)
		if errors.As(err, &bad) {
			return nil
		}
		probes.set(checkConfig, func(*http.Request) error { return err })
		return err
	})
	if err == nil && bad != nil {
		err = bad
	}
	return config, stale, err
}

// manager puts everything together.
func (f *serveFlags) manager(ctx context.Context, restConfig *rest.Config, config *policy.Config, stale error, rules []leak.Rule, probes *probes) (ctrl.Manager, error) {
	watches, err := cluster.NewWatches(metrics.Registry)
	if err != nil {
		return nil, err
	}
	restConfig.Wrap(watches.Wrap)
	// The server is made before the certificates, which need the manager; it asks for one only once it serves.
	var certificates *certificate.Serving
	probes.set(checkState, func(*http.Request) error { return errors.New("the API server has not told its kinds") })
	lock, idleSince, err := f.lease(ctx, restConfig)
	if err != nil {
		return nil, err
	}
	mgr, err := f.newManager(ctx, restConfig, lock, func(c *tls.Config) { certificates.ConfigureTLS(c) })
	if err != nil {
		return nil, err
	}
	counts, err := webhook.NewMetrics(metrics.Registry)
	if err != nil {
		return nil, err
	}
	if err := registry.Add(metrics.Registry, thisBuild().metric()); err != nil {
		return nil, err
	}
	if err := dropNoise(metrics.Registry); err != nil {
		return nil, err
	}
	var tenant certificate.Tenant
	err = cluster.Retry(ctx, ctrl.Log, "set up the certificates", func() (err error) {
		certificates, err = f.newCertificates(mgr, config.ClusterDomain, counts.Yielded(), &tenant)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := certificates.Observe(metrics.Registry); err != nil {
		return nil, err
	}
	index := policy.NewIndex(config)
	inForce, err := cluster.NewMetrics(metrics.Registry)
	if err != nil {
		return nil, err
	}
	state, err := cluster.Setup(ctx, mgr, cluster.Options{
		Index:            index,
		Rules:            rules,
		InstallNamespace: f.namespace,
		Replica:          os.Getenv("POD_NAME"),
		Metrics:          inForce,
		Stale:            stale,
	})
	if err != nil {
		return nil, err
	}
	reader, err := newAdmissionReader(mgr)
	if err != nil {
		return nil, err
	}
	err = webhook.Setup(mgr.GetWebhookServer(), webhook.Options{
		Index:            index,
		Rules:            rules,
		InstallNamespace: f.namespace,
		Metrics:          counts,
		Reader:           reader,
		Synced:           state.Synced,
		BytesInFlight:    bytesInFlight(debug.SetMemoryLimit(-1)),
	})
	if err != nil {
		return nil, err
	}
	probes.set(checkState, state.Check)
	probes.set(checkCertificate, certificates.Check)
	probes.set(checkWebhook, mgr.GetWebhookServer().StartedChecker())
	return mgr, controller.Setup(mgr, controller.Options{
		Index:            index,
		Rules:            rules,
		InstallNamespace: f.namespace,
		HasObjects:       state.HasObjects,
		Synced:           func() bool { return state.Synced() && tenant.Known() },
		Registerer:       metrics.Registry,
		BackfillRate:     f.backfillRate,
		IdleSince:        idleSince,
		Explain:          certificates.Explain,
		Yields:           tenant.Another,
	})
}

// lease returns the lock by which replicas elect their leader, nil where they do not, and since when none of them has run.
func (f *serveFlags) lease(ctx context.Context, restConfig *rest.Config) (lock resourcelock.Interface, idleSince time.Time, err error) {
	if !f.leaderElect {
		return nil, time.Time{}, nil
	}
	if lock, err = election.NewLock(restConfig, f.namespace, policy.InstallName, election.DefaultTiming()); err != nil {
		return nil, time.Time{}, err
	}
	idleSince, err = election.IdleSince(ctx, lock, election.DefaultTiming(), time.Now())
	if err != nil {
		ctrl.Log.Info("whether a replica ran before this one is not known", "reason", err.Error())
	}
	return lock, idleSince, nil
}

// newAdmissionReader returns what admission reads live by. It is not slowed by what the controller writes, nor by a rate of
// its own: the API server's priority and fairness bounds it, and each request of admission how much it asks at once.
func newAdmissionReader(mgr ctrl.Manager) (client.Reader, error) {
	config := rest.CopyConfig(mgr.GetConfig())
	config.QPS = -1
	reader, err := client.New(config, client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("client of admission: %w", err)
	}
	return reader, nil
}

// newManager returns a manager whose leader's parts come and go with the lease. It waits until the API server tells the
// kinds that the cache holds.
func (f *serveFlags) newManager(ctx context.Context, restConfig *rest.Config, lock resourcelock.Interface, configureTLS func(*tls.Config)) (mgr ctrl.Manager, err error) {
	host, port, err := splitAddress(f.webhookAddress)
	if err != nil {
		return nil, fmt.Errorf("--webhook-address %q: %w", f.webhookAddress, err)
	}
	clients, err := f.clients()
	if err != nil {
		return nil, err
	}
	cached := cluster.CacheOptions(f.namespace)
	cached.DefaultWatchErrorHandler = cluster.WatchErrors(ctrl.Log.WithName("watches"))
	err = cluster.Retry(ctx, ctrl.Log, "make the manager", func() (err error) {
		mgr, err = ctrl.NewManager(restConfig, ctrl.Options{
			Scheme:                  scheme.Scheme,
			Cache:                   cached,
			NewCache:                cluster.NewCache,
			Metrics:                 f.metricsServer(configureTLS),
			GracefulShutdownTimeout: new(shutdownGrace),
			WebhookServer:           webhook.NewServer(host, port, configureTLS, clients),
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	e, err := election.New(policy.InstallName, lock, election.DefaultTiming(), mgr.GetLogger().WithName("leader-election"))
	if err != nil {
		return nil, err
	}
	elected, err := election.NewManager(mgr, e)
	if err != nil {
		return nil, err
	}
	notices, err := notice.NewRecorder(restConfig, metrics.Registry, mgr.GetLogger().WithName("events"))
	if err != nil {
		return nil, err
	}
	return &telling{elected, notices}, mgr.Add(notices)
}

// telling is a manager with a recorder of our own.
type telling struct {
	*election.Manager

	notices *notice.Recorder
}

// GetEventRecorder returns the recorder, which has but one name.
func (t *telling) GetEventRecorder(string) recorder.EventRecorder { return t.notices }

// newCertificates fails while the API server is away; the flag is checked first.
func (f *serveFlags) newCertificates(mgr ctrl.Manager, clusterDomain string, yields prometheus.Gauge, tenant *certificate.Tenant) (*certificate.Serving, error) {
	lookout := certificate.Lookout{
		Configurations: installed(f.namespace), Yields: yields, Tenant: tenant,
	}
	switch f.certificates {
	case selfSigned:
		return certificate.SelfSigned(mgr, certificate.SelfSignedOptions{
			Namespace: f.namespace, Service: policy.InstallName, ClusterDomain: clusterDomain, Lookout: lookout,
			WatchErrors: cluster.WatchErrors(ctrl.Log.WithName("certificates")),
		})
	case mounted:
		return certificate.Mounted(mgr, f.certificateDir, lookout)
	}
	return nil, f.checkCertificates()
}

// installed names the webhook configurations of the installation in a namespace.
func installed(namespace string) certificate.WebhookConfigurations {
	return certificate.WebhookConfigurations{
		Mutating: policy.InstallName, Validating: policy.InstallName, Service: client.ObjectKey{Namespace: namespace, Name: policy.InstallName},
	}
}

func (f *serveFlags) checkCertificates() error {
	if f.certificates != selfSigned && f.certificates != mounted {
		return fmt.Errorf("--certificates %q must be %s or %s", f.certificates, selfSigned, mounted)
	}
	return nil
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}
