package testbed

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

const (
	cniPlugins = "/usr/lib/cni"
	// pauseImage is the image of what keeps the namespaces of a Pod.
	pauseImage = "localhost/pause"
	// containerdSocket is in the /run of the test bed.
	containerdSocket = "/run/containerd/containerd.sock"
)

// MainNode is Main for packages that run Pods on a real Node (Options.RunsPods). Where that cannot be, a line says what is
// missing, and no test runs.
func MainNode(m *testing.M, tools ...string) {
	if missing := missingForNode(); missing != "" {
		fmt.Printf("left out: a real Node, which needs %s\n", missing)
		return
	}
	tools = append(append(controlPlaneTools(), "kubelet", "kube-proxy", "kube-scheduler", "pause", "image"), tools...)
	os.Exit(exit(m.Run, isolateNode, tools))
}

// missingForNode names what a real Node needs and this machine does not have.
func missingForNode() string {
	if runtime.GOOS != "linux" {
		return "Linux"
	}
	if os.Geteuid() != 0 {
		return "root"
	}
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		return "the controllers of cgroups v1; with those of v2 it was never tried"
	}
	var missing []string
	for _, name := range []string{"containerd", "ctr", "runc", "ip", "nft", "iptables", "conntrack"} {
		if _, err := exec.LookPath(name); err != nil {
			missing = append(missing, name)
		}
	}
	if _, err := os.Stat(filepath.Join(cniPlugins, "bridge")); err != nil {
		missing = append(missing, "the CNI plugins in "+cniPlugins)
	}
	return strings.Join(missing, ", ")
}

// addNodeAddress gives the Node its address, and a default route, without which a connection to a ClusterIP does not get as
// far as the rules of kube-proxy. Not every kernel has a dummy device, so that it is one end of a pair.
func (c *Cluster) addNodeAddress(ctx context.Context) error {
	for _, args := range []string{
		"link add eth0 type veth peer name eth0peer",
		fmt.Sprintf("address add %s/16 dev eth0", c.Address),
		"link set eth0 up",
		"link set eth0peer up",
		fmt.Sprintf("route add default via %s dev eth0 onlink", c.Host(2)),
	} {
		if err := run(ctx, "ip", strings.Fields(args)...); err != nil {
			return err
		}
	}
	return nil
}

// run runs a program of the machine.
func run(ctx context.Context, name string, args ...string) error {
	if out, err := exec.CommandContext(ctx, name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// startNode starts what makes the Node run Pods, and returns when it is Ready.
func (c *Cluster) startNode(ctx context.Context) error {
	steps := []func(context.Context) error{c.startContainerd, c.importPause, c.startScheduler, c.startProxy, c.startKubelet}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// startContainerd starts containerd with a bridge for the Pods.
func (c *Cluster) startContainerd(ctx context.Context) error {
	network := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "bridge", "plugins": [{
"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`,
		c.file("addresses"))
	// Only CAP_SYS_RESOURCE may lower oom_score_adj; where root lacks it, runc could start no Pod.
	config := fmt.Sprintf(`
version = 2
root = %q
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%s:node"
  disable_apparmor = true
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = %q
  conf_dir = %q
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
`, c.file("containerd"), pauseImage, cniPlugins, c.dir)
	if err := c.write("bridge.conflist", network); err != nil {
		return err
	}
	if err := c.write("containerd.toml", config); err != nil {
		return err
	}
	ready := func(ctx context.Context) error { return run(ctx, "ctr", "version") }
	return c.runProgram(ctx, "containerd", "containerd", ready, "--config="+c.file("containerd.toml"))
}

func (c *Cluster) write(name, content string) error {
	return os.WriteFile(c.file(name), []byte(content), 0o600)
}

// importPause makes the image that every Pod needs.
func (c *Cluster) importPause(ctx context.Context) error {
	pause, err := Tool("pause")
	if err != nil {
		return err
	}
	image, err := Tool("image")
	if err != nil {
		return err
	}
	layout := c.file("pause-image")
	cmd := exec.CommandContext(ctx, image, "-out", layout, "-version", "node", "-revision", "node", "linux/"+runtime.GOARCH+"="+pause)
	cmd.Env = append(os.Environ(), "SOURCE_DATE_EPOCH=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the pause image: %w\n%s", err, out)
	}
	return c.ImportImage(ctx, pauseImage, layout)
}

// ImportImage gives the Node an image that is in the folder of an OCI layout, under a name with the tags of the layout.
func (c *Cluster) ImportImage(ctx context.Context, name, layout string) error {
	archive := c.file(filepath.Base(layout) + ".tar")
	if err := pack(archive, layout); err != nil {
		return fmt.Errorf("pack image %s: %w", name, err)
	}
	return run(ctx, "ctr", "--namespace=k8s.io", "images", "import", "--base-name", name, archive)
}

// pack puts the files of a folder into an archive.
func pack(archive, dir string) error {
	file, err := os.Create(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	w := tar.NewWriter(file)
	if err := w.AddFS(os.DirFS(dir)); err != nil {
		return err
	}
	return w.Close()
}

func (c *Cluster) startScheduler(ctx context.Context) error {
	return c.run(ctx, "kube-scheduler", nil, "--kubeconfig="+c.file("scheduler.kubeconfig"), "--leader-elect=false")
}

// startProxy starts kube-proxy, which leaves the connection tracking of the machine as it is. It calls itself healthy half
// a minute after it works.
func (c *Cluster) startProxy(ctx context.Context) error {
	config := fmt.Sprintf(`
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: %s}
clusterCIDR: 10.244.0.0/16
hostnameOverride: %s
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
`, c.file("proxy.kubeconfig"), c.Node())
	if err := c.write("proxy.yaml", config); err != nil {
		return err
	}
	return c.run(ctx, "kube-proxy", nil, "--config="+c.file("proxy.yaml"))
}

// startKubelet starts kubelet. The files of its sockets must have short names.
func (c *Cluster) startKubelet(ctx context.Context) error {
	config := fmt.Sprintf(`
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
containerRuntimeEndpoint: unix://%s
podLogsDir: %s
failSwapOn: false
localStorageCapacityIsolation: false
evictionHard: {memory.available: 100Mi}
imageGCHighThresholdPercent: 100
authentication: {anonymous: {enabled: false}}
resolvConf: ""
nodeStatusUpdateFrequency: 2s
`, containerdSocket, c.file("pods"))
	if err := c.write("kubelet.yaml", config); err != nil {
		return err
	}
	return c.run(ctx, "kubelet", c.nodeReady, "--config="+c.file("kubelet.yaml"), "--kubeconfig="+c.file("kubelet.kubeconfig"),
		"--root-dir=/run/kubelet", "--cert-dir=/run/kubelet/pki", "--hostname-override="+c.Node(), "--node-ip="+c.Address.String())
}

func (c *Cluster) nodeReady(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	node, err := client.CoreV1().Nodes().Get(ctx, c.Node(), metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady {
			continue
		}
		if condition.Status != corev1.ConditionTrue {
			return errors.New(condition.Message)
		}
		return nil
	}
	return errors.New("kubelet says nothing of the Node")
}
