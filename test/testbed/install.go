package testbed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// ToolMeshfence is the program of this source tree, for [Main], [Run] and [Tool].
const ToolMeshfence = "meshfence"

// namespace and name are those of the manifests.
const (
	installNamespace = "meshfence-system"
	installName      = "meshfence"
)

// Installation says how to install meshfence.
type Installation struct {
	// Overlay is a folder of manifests/overlays; self-signed unless set.
	Overlay string
	// FenceConfig is the config.yaml of the ConfigMap.
	FenceConfig string
	// Args are added to those of the Deployment.
	Args []string
	// Namespace is the one to install in, if it is not that of the manifests. The installation is beside another one
	// that has the cluster: its objects that belong to no namespace have names of their own, and the API server calls the
	// other until TakeOver.
	Namespace string
	// Command has the program itself install, as meshfence install --apply with these arguments, instead of kubectl: the
	// FenceConfig is its own unless there is one.
	Command []string
	// LimitMemory holds each replica to the memory limit of its container.
	LimitMemory bool
	// Manifests applies the manifests, where that is not kubectl with the overlay of this tree, and Program is what the Pods
	// run, where that is not the program of this tree: for a release before this one.
	Manifests func(context.Context) error
	Program   string
}

// Meshfence is an installed meshfence: the manifests as they are, with a process in the place of each Pod of the
// Deployment, which has the rights of the Deployment's ServiceAccount.
type Meshfence struct {
	cluster   *Cluster
	namespace string
	path      string
	args      []string
	mounts    mounts
	webhooks  []string // the manifests that TakeOver applies
	limited   bool
	adopted   int // how many Pods there have been

	mu       sync.Mutex
	replicas []*replica // those of Pods that Rollout has not ended
}

type replica struct {
	pod        string
	address    netip.Addr
	kubeconfig string
	path       string
	args       []string
	probes     probes
	memory     memory
	process    atomic.Pointer[Process] // nil until it is started
}

// Install applies the manifests and starts meshfence. It returns when every replica is ready and the API server
// reaches them.
func (c *Cluster) Install(ctx context.Context, o Installation) (*Meshfence, error) {
	if o.Overlay == "" {
		o.Overlay = "self-signed"
	}
	m := &Meshfence{cluster: c, namespace: cmp.Or(o.Namespace, installNamespace), path: o.Program, args: o.Args, limited: o.LimitMemory}
	var err error
	if m.path == "" {
		if m.path, err = Tool(ToolMeshfence); err != nil {
			return nil, err
		}
	}
	if o.Manifests == nil {
		o.Manifests = func(ctx context.Context) error { return m.applyManifests(ctx, o) }
	}
	installed := func() error { return nil }
	if o.Command != nil {
		installed, err = m.runInstall(ctx, o.Command)
	} else if err = o.Manifests(ctx); err == nil {
		err = m.Configure(ctx, o.FenceConfig)
	}
	if err != nil {
		return nil, err
	}
	if err := m.adoptPods(ctx); err != nil {
		m.Stop()
		return nil, err
	}
	for i := range m.all() {
		if err := m.StartReplica(ctx, i); err != nil {
			m.Stop()
			return nil, err
		}
	}
	if err := installed(); err != nil {
		m.Stop()
		return nil, err
	}
	if o.Namespace != "" {
		return m, nil
	}
	if err := m.WaitServing(ctx); err != nil {
		logs := m.Logs(logTail)
		m.Stop()
		return nil, fmt.Errorf("the API server does not reach meshfence: %w\n%s", err, logs)
	}
	return m, nil
}

// Configure writes the FenceConfig, as kubectl create configmap and kubectl apply would.
func (m *Meshfence) Configure(ctx context.Context, fenceConfig string) error {
	configMap, _, err := m.cluster.Kubectl(ctx, fenceConfig, "create", "configmap", installName, "-n", m.namespace,
		"--from-file=config.yaml=/dev/stdin", "--dry-run=client", "-o", "yaml")
	if err != nil {
		return err
	}
	return m.cluster.Apply(ctx, configMap)
}

// all returns the replicas that there are.
func (m *Meshfence) all() []*replica {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.replicas)
}

// Replicas returns how many replicas the Deployment has.
func (m *Meshfence) Replicas() int { return len(m.all()) }

// Pod returns the name of the Pod that a replica stands for.
func (m *Meshfence) Pod(i int) string { return m.all()[i].pod }

// StartReplica starts a replica and marks its Pod Ready, once it is.
func (m *Meshfence) StartReplica(ctx context.Context, i int) error {
	return m.startReplica(ctx, m.all()[i])
}

func (m *Meshfence) startReplica(ctx context.Context, r *replica) error {
	ready := m.cluster.healthy(&rest.Config{Host: r.health()}, "/readyz")
	if err := m.start(ctx, r, ready); err != nil {
		return err
	}
	return m.setReady(ctx, r, true)
}

// start starts the process of a replica and waits for what it is given, if anything.
func (m *Meshfence) start(ctx context.Context, r *replica, ready func(context.Context) error) error {
	process, err := StartProcess(ctx, r.memory.limited(Command{
		Name: r.pod,
		Path: r.path,
		Args: slices.Concat(r.args, m.args, []string{
			"--kubeconfig=" + r.kubeconfig,
			"--webhook-address=" + netip.AddrPortFrom(r.address, 9443).String(),
			"--metrics-address=" + netip.AddrPortFrom(r.address, 8080).String(),
			"--health-address=" + netip.AddrPortFrom(r.address, 8081).String(),
		}),
		Env:   []string{"POD_NAMESPACE=" + m.namespace, "POD_NAME=" + r.pod},
		Dir:   m.cluster.dir,
		Ready: ready,
	}))
	if err == nil {
		r.process.Store(process)
	}
	return err
}

// health returns where the replica answers probes.
func (r *replica) health() string {
	return fmt.Sprintf("http://%s", netip.AddrPortFrom(r.address, 8081))
}

// runs reports whether the process of the replica runs.
func (r *replica) runs() bool {
	select {
	case <-r.process.Load().Done():
		return false
	default:
		return true
	}
}

// StopReplica does what a rollout does: the Pod stops being Ready, then the process gets SIGTERM.
func (m *Meshfence) StopReplica(ctx context.Context, i int) error {
	r := m.all()[i]
	if err := m.setReady(ctx, r, false); err != nil {
		return err
	}
	process := r.process.Load()
	process.Stop(20 * time.Second)
	return process.Err()
}

// KillReplica ends a replica's process as a crash would; its Pod stays Ready.
func (m *Meshfence) KillReplica(i int) { m.all()[i].process.Load().Stop(0) }

// Signal sends a signal to the process of a replica.
func (m *Meshfence) Signal(i int, signal os.Signal) error {
	return m.all()[i].process.Load().cmd.Process.Signal(signal)
}

// Runs reports whether the process of a replica runs.
func (m *Meshfence) Runs(i int) bool { return m.all()[i].runs() }

// Stop kills every replica and stops keeping mounted Secrets up to date.
func (m *Meshfence) Stop() {
	for _, r := range m.all() {
		if process := r.process.Load(); process != nil {
			process.Stop(0)
		}
		r.memory.release()
	}
	m.mounts.stop()
}

// Logs returns the last lines of every replica's log.
func (m *Meshfence) Logs(lines int) string {
	var b strings.Builder
	for _, r := range m.all() {
		if process := r.process.Load(); process != nil {
			b.WriteString(process.Log(lines))
		}
	}
	return b.String()
}

// LogLines returns the log of a replica, since it was started first.
func (m *Meshfence) LogLines(i int) ([]string, error) {
	content, err := os.ReadFile(m.all()[i].process.Load().log)
	return strings.Split(strings.TrimRight(string(content), "\n"), "\n"), err
}

// MetricsURL returns where a replica serves its metrics.
func (m *Meshfence) MetricsURL(i int) string {
	return fmt.Sprintf("http://%s/metrics", netip.AddrPortFrom(m.all()[i].address, 8080))
}

// HealthURL returns where a replica answers probes.
func (m *Meshfence) HealthURL(i int) string { return m.all()[i].health() }

// WebhookAddress returns where a replica serves the webhooks.
func (m *Meshfence) WebhookAddress(i int) string {
	return netip.AddrPortFrom(m.all()[i].address, 9443).String()
}

func (m *Meshfence) setReady(ctx context.Context, r *replica, ready bool) error {
	client, err := kubernetes.NewForConfig(m.cluster.Config())
	if err != nil {
		return err
	}
	pods := client.CoreV1().Pods(m.namespace)
	pod, err := pods.Get(ctx, r.pod, metav1.GetOptions{})
	if err != nil {
		return err
	}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.PodIP = r.address.String()
	pod.Status.PodIPs = []corev1.PodIP{{IP: r.address.String()}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	_, err = pods.UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	return err
}

// WaitServing waits until the API server gets answers from the webhook: a dry run of an object that only the webhook
// refuses is refused.
func (m *Meshfence) WaitServing(ctx context.Context) error {
	const probe = `{apiVersion: v1, kind: Service, metadata: {name: probe, annotations: {meshfence.io/fence: unknown}},
spec: {ports: [{port: 80}]}}`
	return Eventually(ctx, readyWithin, func(ctx context.Context) error {
		_, stderr, err := m.cluster.Kubectl(ctx, probe, "create", "-n", "default", "--dry-run=server", "-f", "-")
		if err == nil {
			return errors.New("an unknown fence was accepted")
		}
		if !strings.Contains(stderr, "service-invalid-fence") {
			return err
		}
		return nil
	})
}

// writeServiceAccountKubeconfig writes a kubeconfig that acts as a ServiceAccount.
func (c *Cluster) writeServiceAccountKubeconfig(path, namespace, name string) error {
	config, err := clientcmd.LoadFromFile(c.Kubeconfig)
	if err != nil {
		return err
	}
	config.AuthInfos[c.Name] = &clientcmdapi.AuthInfo{
		Token:             c.token,
		Impersonate:       fmt.Sprintf("system:serviceaccount:%s:%s", namespace, name),
		ImpersonateGroups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}
	return clientcmd.WriteToFile(*config, path)
}
