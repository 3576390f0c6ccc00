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

// happening is something that becomes of Pods while writes go on.
type happening struct {
	name string
	// silent tells that the API server may call a Pod that does not answer, so that what fails closed is delayed.
	silent bool
	// strike does it, and returns once its cause is over.
	strike func(t *testing.T, n *node)
}

func happenings() []happening {
	return []happening{
		{name: "rollout", strike: rollout},
		{name: "eviction", strike: eviction},
		{name: "deletion of both Pods", strike: func(t *testing.T, n *node) { n.kubectl(t, "", "delete", "pods", "-l", selector, "-n", namespace) }},
		{name: "kill of a process", silent: true, strike: func(t *testing.T, n *node) {
			pod := n.called(t)
			processOf(t, pod).signal(t, syscall.SIGKILL)
			eventually(t, "it was started again", n.restarted(pod, "Error"))
		}},
		{name: "no memory for one", silent: true, strike: func(t *testing.T, n *node) {
			pod := n.called(t)
			processOf(t, pod).exhaust(t)
			eventually(t, "it was started again", n.restarted(pod, "OOMKilled"))
		}},
		{name: "a process that hangs", silent: true, strike: func(t *testing.T, n *node) {
			pod := n.called(t)
			processOf(t, pod).signal(t, syscall.SIGSTOP)
			eventually(t, "it was started again", n.restarted(pod, "Error"))
		}},
		{name: "deletion of both Pods by force", silent: true, strike: func(t *testing.T, n *node) {
			n.kubectl(t, "", "delete", "pods", "-l", selector, "-n", namespace, "--grace-period=0", "--force")
		}},
	}
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

// row is what became of a happening.
type row struct {
	way, name string
	written
	recovery time.Duration // until both Pods are ready again
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
			for _, h := range happenings() {
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

func (n *node) confined(t *testing.T) {
	pods, err := n.pods(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, pod := range pods {
		processOf(t, pod).confined(t, pod)
	}
}

// run lets it happen while writes go on, and judges what became of them: no leak passes, and nothing ordinary fails, but
// for what may be delayed.
func (h happening) run(t *testing.T, n *node) row {
	l := n.write(t)
	began := time.Now()
	h.strike(t, n)
	eventually(t, "both Pods are ready again", n.ready(2))
	eventually(t, "the leak is refused again", n.refuses)
	r := row{name: h.name, recovery: time.Since(began)}
	r.written = l.stop()
	if r.leaked > 0 || r.passed == 0 || r.refused == 0 {
		t.Errorf("want that writes pass, and that leaks are refused: %+v", r.written)
	}
	if r.delayed+r.closed > 0 && !h.silent || len(l.wrong) > r.delayed {
		t.Errorf("wrongly refused: %s", strings.Join(l.wrong, "\n"))
	}
	return r
}

func table(rows []row) string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "INSTALLED BY\tWHAT\tCHANGES PASSED\tDELAYED\tLEAKS REFUSED\tUNANSWERED\tLET THROUGH\tBOTH READY AFTER")
	for _, r := range rows {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%s\n", r.way, r.name, r.passed, r.delayed, r.refused, r.closed, r.leaked, r.recovery.Round(100*time.Millisecond))
	}
	_ = w.Flush() // a Builder takes everything
	return text.String()
}
