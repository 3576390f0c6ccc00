package testbed

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"k8s.io/client-go/rest"
)

// Options says what cluster to start.
type Options struct {
	// Number tells clusters of one test bed apart, from 1 to 20; 0 means 1. Cluster n has its control plane on
	// 127.0.n.1, its test hosts in 10.n.0.0/16 and its Service addresses in 10.(100+n).0.0/16.
	Number int
	// Name is the cluster's name in kubeconfigs and, by convention, Istio's CLUSTER_ID; c<Number> unless set.
	Name string
	// CRDs are further files or folders with CustomResourceDefinitions.
	CRDs []string
	// NodeLabels are the labels of the Node, such as topology.kubernetes.io/region.
	NodeLabels map[string]string
	// WithoutIstio leaves Istio's CustomResourceDefinitions out.
	WithoutIstio bool
	// Routes adds the CustomResourceDefinitions of the Gateway API and of Multi-Cluster Services.
	Routes bool
	// AdmissionConfig is the path of a file for the API server, by which it may have certificates for webhooks.
	AdmissionConfig string
	// RunsPods makes the Node a real one; only with [MainNode]. The control plane listens on test host 1, which Pods reach.
	RunsPods bool
}

// Cluster is a running Kubernetes control plane with one Node. Unless that is a real one, nothing runs there: a Pod is what
// [Cluster.CreatePod] or a test writes into its status.
// The fields do not change.
type Cluster struct {
	// Name is the name from Options.
	Name string
	// Address is where the control plane listens, and where istiod and webhooks of this cluster should.
	Address netip.Addr
	// Kubeconfig is the path of a kubeconfig file for the cluster administrator.
	Kubeconfig string

	number    int
	runsPods  bool
	dir       string
	token     string
	processes []*Process
}

// Start starts a cluster and returns when its API server is ready, its CustomResourceDefinitions are established and
// its controller manager runs. It runs until Stop, or until ctx ends. The error of a failed start contains the end
// of every log.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	if o.Number == 0 {
		o.Number = 1
	}
	if o.Number < 1 || o.Number > 20 {
		return nil, fmt.Errorf("cluster number must be from 1 to 20, not %d", o.Number)
	}
	if o.Name == "" {
		o.Name = fmt.Sprintf("c%d", o.Number)
	}
	dir, err := StateDir(o.Name)
	if err != nil {
		return nil, err
	}
	n := byte(o.Number)
	c := &Cluster{Name: o.Name, Address: netip.AddrFrom4([4]byte{127, 0, n, 1}), number: o.Number, runsPods: o.RunsPods, dir: dir}
	if o.RunsPods {
		c.Address = c.Host(1)
	}
	if err := c.start(ctx, o); err != nil {
		err = fmt.Errorf("start cluster %s: %w\n%s", c.Name, err, c.Logs(logTail))
		c.Stop()
		return nil, err
	}
	return c, nil
}

// start starts the components in order. The controller manager comes after the CustomResourceDefinitions: its
// garbage collector looks for new kinds only every 30 seconds.
func (c *Cluster) start(ctx context.Context, o Options) error {
	if err := c.addAddresses(ctx); err != nil {
		return err
	}
	if err := c.writeCredentials(); err != nil {
		return err
	}
	crds, wanted := slices.Clone(o.CRDs), []string{}
	if !o.WithoutIstio {
		wanted = append(wanted, "istio-crds")
	}
	if o.Routes {
		wanted = append(wanted, "gateway-crds", "mcs-crds")
	}
	for _, name := range wanted {
		path, err := Tool(name)
		if err != nil {
			return err
		}
		crds = append(crds, path)
	}
	steps := []func(context.Context) error{
		c.startEtcd,
		func(ctx context.Context) error { return c.startAPIServer(ctx, o.AdmissionConfig) },
		func(ctx context.Context) error { return c.createNode(ctx, o.NodeLabels) },
		func(ctx context.Context) error { return c.installCRDs(ctx, crds) },
		c.startControllerManager,
	}
	if c.runsPods {
		steps = append(steps, c.startNode)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// addAddresses gives this machine those that the cluster listens on.
func (c *Cluster) addAddresses(ctx context.Context) error {
	if c.runsPods {
		return c.addNodeAddress(ctx)
	}
	return addHosts(fmt.Sprintf("lo:%d", c.number), netip.PrefixFrom(c.Host(1), 16))
}

// Host returns test host i of the cluster, an address to serve on that Endpoints and Pods may name. Host 1 is the
// API server's advertised address.
func (c *Cluster) Host(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(c.number), byte(i >> 8), byte(i)})
}

// addServices gives lo the addresses of Services, at which a test can stand for kube-proxy.
func (c *Cluster) addServices() error {
	first := netip.AddrFrom4([4]byte{10, byte(100 + c.number), 0, 1})
	return addHosts(fmt.Sprintf("lo:%d", 100+c.number), netip.PrefixFrom(first, 16))
}

// Config returns a client configuration for the cluster administrator, without client-side rate limits.
func (c *Cluster) Config() *rest.Config {
	return &rest.Config{
		Host:            c.server(),
		BearerToken:     c.token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: c.certificate()},
		QPS:             -1,
	}
}

// As returns a client configuration for any user and groups, who have no rights but those that RBAC gives them. A
// ServiceAccount is the user system:serviceaccount:<namespace>:<name>.
func (c *Cluster) As(user string, groups ...string) *rest.Config {
	config := c.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: groups}
	return config
}

// Logs returns the last lines of every component's log.
func (c *Cluster) Logs(lines int) string {
	var b strings.Builder
	for _, p := range c.processes {
		b.WriteString(p.Log(lines))
	}
	return b.String()
}

// Stop kills the control plane and returns when it is gone. Nothing that it stored can be had again.
func (c *Cluster) Stop() {
	for _, p := range slices.Backward(c.processes) {
		p.Stop(0)
	}
}

// Err reports the components that have ended, with the end of their logs, and nil while all run.
func (c *Cluster) Err() error {
	var errs []error
	for _, p := range c.processes {
		select {
		case <-p.Done():
			errs = append(errs, fmt.Errorf("%s ended: %w\n%s", p.command.Name, p.Err(), p.Log(logTail)))
		default:
		}
	}
	return errors.Join(errs...)
}
