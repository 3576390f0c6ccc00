package node_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// happening is something that happens to Pods while writes go on.
type happening struct {
	name string
	// silent tells that the API server may call a Pod that does not answer, so that what fails closed is delayed.
	silent bool
	// strike does it, and returns once its cause is over.
	strike func(t *testing.T, n *node)
	// prepare does what has to be before, if anything.
	prepare func(t *testing.T, n *node)
}

func happenings() []happening {
	return []happening{
		{name: "rollout", strike: rollout},
		{name: "eviction", strike: eviction},
		{name: "deletion of both Pods", strike: func(t *testing.T, n *node) { n.deletePods(t) }},
		hurt("kill of a process", "Error", func(t *testing.T, p process) { p.signal(t, syscall.SIGKILL) }),
		hurt("no memory for one", "OOMKilled", func(t *testing.T, p process) { p.exhaust(t) }),
		hurt("a process that hangs", "Error", func(t *testing.T, p process) { p.signal(t, syscall.SIGSTOP) }),
		{name: "deletion of both Pods by force", silent: true, strike: func(t *testing.T, n *node) {
			n.deletePods(t, "--grace-period=0", "--force")
		}},
	}
}

// hurt does something to the process of the Pod that is called, until the container ends for a reason and is started again.
func hurt(name, reason string, do func(*testing.T, process)) happening {
	return happening{name: name, silent: true, strike: func(t *testing.T, n *node) {
		pod := n.called(t)
		do(t, processOf(t, pod))
		eventually(t, "it was started again", n.restarted(pod, reason))
	}}
}

func (n *node) deletePods(t *testing.T, args ...string) {
	t.Helper()
	n.kubectl(t, "", append([]string{"delete", "pods", "-l", selector, "-n", namespace}, args...)...)
}

func rollout(t *testing.T, n *node) {
	n.kubectl(t, "", "rollout", "restart", "deployment/meshfence", "-n", namespace)
	n.kubectl(t, "", "rollout", "status", "deployment/meshfence", "-n", namespace, "--timeout=180s")
}

// eviction: one Pod can be evicted, and the other has to wait.
func eviction(t *testing.T, n *node) {
	pods, err := n.pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	evict := func(i int) error {
		eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pods[i].Name}}
		return n.client.PolicyV1().Evictions(namespace).Evict(t.Context(), eviction)
	}
	if err := evict(0); err != nil {
		t.Fatal(err)
	}
	if err := evict(1); !apierrors.IsTooManyRequests(err) {
		t.Errorf("evict the last Pod: want that it has to wait, got %v", err)
	}
}

// row is what became of the writes, and of the Pods.
type row struct {
	way, name string
	written
	recovery time.Duration // until both Pods are ready again
	memory   int64         // the most that one of these has held
}

// TestNode installs meshfence in every way, and looks at its Pods and at what passes while they come and go.
func TestNode(t *testing.T) {
	if !*onNode {
		t.Skip("without -node no Pod runs")
	}
	n := startNode(t)
	var rows []row
	t.Cleanup(func() {
		t.Log("\n" + table(rows))
		if t.Failed() {
			t.Log(n.Logs(30))
		}
	})
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			w.install(t, n)
			eventually(t, "both Pods are ready", n.ready(2))
			n.kubectl(t, scene, "apply", "-f", "-")
			eventually(t, "the leak is refused", n.refuses)
			t.Run("confined", n.confined)
			for _, h := range w.happenings {
				t.Run(h.name, func(t *testing.T) {
					r := h.run(t, n)
					r.way = w.name
					rows = append(rows, r)
				})
			}
			w.uninstall(t, n)
			eventually(t, "no Pod is left", n.ready(0))
			n.kubectl(t, "", "delete", "namespace", "shop", namespace, "--ignore-not-found")
		})
	}
}

// mostMemory returns the most memory that the container of one of the Pods has held.
func (n *node) mostMemory(t *testing.T) int64 {
	t.Helper()
	pods, err := n.pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var most int64
	for _, pod := range pods {
		most = max(most, processOf(t, pod).memory(t, "memory.max_usage_in_bytes"))
	}
	return most
}

func (n *node) confined(t *testing.T) {
	pods, err := n.pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		processOf(t, pod).confined(t, pod)
	}
}

// run lets it happen while writes go on, and judges what became of them.
func (h happening) run(t *testing.T, n *node) row {
	if h.prepare != nil {
		h.prepare(t, n)
	}
	l := n.write(t)
	began := time.Now()
	h.strike(t, n)
	eventually(t, "both Pods are ready again", n.ready(2))
	eventually(t, "the leak is refused again", n.refuses)
	r := row{name: h.name, recovery: time.Since(began)}
	r.written = l.stop()
	r.memory = n.mostMemory(t)
	if err := r.judge(h.silent); err != nil {
		t.Error(err)
	}
	return r
}

func table(rows []row) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "INSTALLED BY\tWHAT\tCHANGES PASSED\tDELAYED\tLEAKS REFUSED\tUNANSWERED\tLET THROUGH\tBOTH READY AFTER\tMOST MEMORY")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\t%d MiB\n",
			r.way, r.name, r.passed, r.delayed, r.refused, r.closed, r.leaked, r.recovery.Round(100*time.Millisecond), r.memory>>20)
	}
	_ = w.Flush() // a Builder takes everything
	return text.String()
}
