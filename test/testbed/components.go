package testbed

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

func (c *Cluster) server() string      { return fmt.Sprintf("https://%s:6443", c.Address) }
func (c *Cluster) etcd() string        { return fmt.Sprintf("http://%s:2379", c.Address) }
func (c *Cluster) certificate() string { return c.file("certs/apiserver.crt") }
func (c *Cluster) file(name string) string {
	return filepath.Join(c.dir, name)
}

// run starts a component of the control plane and keeps it for Stop and Logs.
func (c *Cluster) run(ctx context.Context, name string, ready func(context.Context) error, args ...string) error {
	path, err := Tool(name)
	if err != nil {
		return err
	}
	return c.runProgram(ctx, name, path, ready, args...)
}

// runProgram is run for a program that is no tool.
func (c *Cluster) runProgram(ctx context.Context, name, path string, ready func(context.Context) error, args ...string) error {
	p, err := StartProcess(ctx, Command{Name: name, Path: path, Args: args, Dir: c.dir, Ready: ready})
	if err != nil {
		return err
	}
	c.processes = append(c.processes, p)
	return nil
}

// Signal sends a signal to a component of the control plane, by the name of its program.
func (c *Cluster) Signal(component string, signal os.Signal) error {
	i, err := c.component(component)
	if err != nil {
		return err
	}
	return c.processes[i].cmd.Process.Signal(signal)
}

// Restart kills a component of the control plane, starts it again, and returns when it is ready.
func (c *Cluster) Restart(ctx context.Context, component string) error {
	i, err := c.component(component)
	if err != nil {
		return err
	}
	c.processes[i].Stop(0)
	p, err := StartProcess(ctx, c.processes[i].command)
	if err != nil {
		return err
	}
	c.processes[i] = p
	return nil
}

func (c *Cluster) component(name string) (int, error) {
	i := slices.IndexFunc(c.processes, func(p *Process) bool { return p.command.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("no component %s", name)
	}
	return i, nil
}

func (c *Cluster) startEtcd(ctx context.Context) error {
	peers := fmt.Sprintf("http://%s:2380", c.Address)
	return c.run(ctx, "etcd", c.healthy(&rest.Config{Host: c.etcd()}, "/health"),
		"--name="+c.Name,
		"--data-dir="+c.file("etcd"),
		"--listen-client-urls="+c.etcd(),
		"--advertise-client-urls="+c.etcd(),
		"--listen-peer-urls="+peers,
		"--initial-advertise-peer-urls="+peers,
		"--initial-cluster="+c.Name+"="+peers,
		"--unsafe-no-fsync",
		"--log-level=warn",
	)
}

func (c *Cluster) startAPIServer(ctx context.Context, admissionConfig string) error {
	args := []string{
		"--etcd-servers=" + c.etcd(),
		"--bind-address=" + c.Address.String(),
		"--secure-port=6443",
		"--cert-dir=" + c.file("certs"),
		"--advertise-address=" + c.Host(1).String(),
		fmt.Sprintf("--service-cluster-ip-range=10.%d.0.0/16", 100+c.number),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.file("service-account.key"),
		"--service-account-signing-key-file=" + c.file("service-account.key"),
		"--token-auth-file=" + c.file("tokens.csv"),
	}
	if admissionConfig != "" {
		args = append(args, "--admission-control-config-file="+admissionConfig)
	}
	if c.runsPods {
		args = append(args, "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction")
	} else {
		args = append(args,
			"--authorization-mode=RBAC",
			// There is no Pod that could reach kubernetes.default, so nobody needs its endpoints.
			"--endpoint-reconciler-type=none",
			// Without a Node's proxy a ClusterIP leads nowhere: webhooks are called at the endpoints of their Service.
			"--enable-aggregator-routing=true",
			// Pods are written by tests, without ServiceAccounts and tokens.
			"--disable-admission-plugins=ServiceAccount",
		)
	}
	return c.run(ctx, "kube-apiserver", c.healthy(c.Config(), "/readyz"), args...)
}

func (c *Cluster) startControllerManager(ctx context.Context) error {
	health := &rest.Config{
		Host:            fmt.Sprintf("https://%s:10257", c.Address),
		TLSClientConfig: rest.TLSClientConfig{Insecure: true},
	}
	healthy := c.healthy(health, "/healthz")
	ready := func(ctx context.Context) error {
		if err := healthy(ctx); err != nil {
			return err
		}
		// It calls itself healthy before its controllers run; a default ServiceAccount is the work of one.
		client, err := kubernetes.NewForConfig(c.Config())
		if err != nil {
			return err
		}
		_, err = client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
		return err
	}
	return c.run(ctx, "kube-controller-manager", ready,
		"--kubeconfig="+c.file("controller-manager.kubeconfig"),
		"--bind-address="+c.Address.String(),
		"--cert-dir="+c.file("certs"),
		"--leader-elect=false",
		// As in real clusters: each controller writes under a ServiceAccount of its own.
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+c.file("service-account.key"),
		"--root-ca-file="+c.certificate(),
		"--kube-api-qps=1000",
		"--kube-api-burst=1000",
		"--controllers="+strings.Join(c.controllers(), ","),
	)
}

// controllers names those that the cluster can use. Without a kubelet, those that watch over Nodes would evict every Pod,
// because no Node sends a heartbeat.
func (c *Cluster) controllers() []string {
	if c.runsPods {
		return []string{"*"}
	}
	return []string{
		"clusterrole-aggregation-controller",
		"deployment-controller",
		"endpoints-controller",
		"endpointslice-controller",
		"endpointslice-mirroring-controller",
		"garbage-collector-controller",
		"namespace-controller",
		"replicaset-controller",
		"root-ca-certificate-publisher-controller",
		"serviceaccount-controller",
		"statefulset-controller",
	}
}

// healthy returns a condition that holds when a health endpoint answers 200.
func (c *Cluster) healthy(config *rest.Config, path string) func(context.Context) error {
	return func(ctx context.Context) error {
		// The certificate authority appears while the API server starts, so the client is made anew each time.
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		return client.RESTClient().Get().AbsPath(path).Do(ctx).Error()
	}
}

// writeCredentials writes what the components and their clients identify themselves with.
func (c *Cluster) writeCredentials() error {
	c.token = rand.Text()
	c.Kubeconfig = c.file("kubeconfig")
	if err := c.writeKubeconfig(c.Kubeconfig, c.token); err != nil {
		return err
	}
	tokens := fmt.Sprintf("%s,admin,admin,system:masters\n", c.token)
	users := map[string]string{"controller-manager": "system:kube-controller-manager,controller-manager"}
	if c.runsPods {
		users["scheduler"] = "system:kube-scheduler,scheduler"
		users["proxy"] = "system:kube-proxy,proxy"
		users["kubelet"] = fmt.Sprintf("system:node:%s,kubelet,system:nodes", c.Node())
	}
	for name, user := range users {
		token := rand.Text()
		tokens += token + "," + user + "\n"
		if err := c.writeKubeconfig(c.file(name+".kubeconfig"), token); err != nil {
			return err
		}
	}
	if err := os.WriteFile(c.file("tokens.csv"), []byte(tokens), 0o600); err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	block := &pem.Block{Type: "EC PRIVATE KEY", Bytes: der}
	return os.WriteFile(c.file("service-account.key"), pem.EncodeToMemory(block), 0o600)
}

func (c *Cluster) writeKubeconfig(path, token string) error {
	return clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{
			c.Name: {Server: c.server(), CertificateAuthority: c.certificate()},
		},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{c.Name: {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{c.Name: {Cluster: c.Name, AuthInfo: c.Name}},
		CurrentContext: c.Name,
	}, path)
}
