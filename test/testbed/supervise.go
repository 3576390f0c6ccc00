package testbed

import (
	"context"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// supervisedEvery is how often a kubelet looks at what its containers do.
const supervisedEvery = time.Second

// probes are those of the container of a Pod.
type probes struct{ ready, live *corev1.Probe }

func probesOf(pod *corev1.Pod) probes {
	container := pod.Spec.Containers[0]
	return probes{container.ReadinessProbe, container.LivenessProbe}
}

// Supervise does a kubelet's work from now on: every Pod is Ready as its probes say, and a process that has ended or
// does not live is started again. It does so without the delays of a container that ends again and again. Until the
// returned function has been called, replicas must not be started or stopped by hand; killed they may be.
func (m *Meshfence) Supervise(ctx context.Context) (stop func()) {
	watching, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, r := range m.all() {
		running.Go(func() {
			ready := prober{probe: r.probes.ready, url: r.health() + r.probes.ready.HTTPGet.Path}
			live := prober{probe: r.probes.live, url: r.health() + r.probes.live.HTTPGet.Path}
			ticker := time.NewTicker(supervisedEvery)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
					m.supervise(ctx, r, &ready, &live)
				case <-watching.Done():
					return
				}
			}
		})
	}
	return func() {
		cancel()
		running.Wait()
	}
}

// supervise does what is due for a replica. What the API server does not take is tried again.
func (m *Meshfence) supervise(ctx context.Context, r *replica, ready, live *prober) {
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if !r.runs() {
		_ = m.setReady(bounded, r, false)
		ready.reset()
		live.reset()
		_ = m.start(ctx, r, nil)
		return
	}
	if live.ask(bounded); live.failing() {
		r.process.Load().Stop(0)
		return
	}
	if !ready.ask(bounded) {
		return
	}
	if ready.failures == 0 && m.setReady(bounded, r, true) != nil || ready.failing() && m.setReady(bounded, r, false) != nil {
		ready.next = time.Time{}
	}
}

// prober asks as one probe of a container says.
type prober struct {
	probe    *corev1.Probe
	url      string
	next     time.Time
	failures int // in a row
}

func (p *prober) reset() { p.next, p.failures = time.Time{}, 0 }

// failing reports whether it has failed as often in a row as the probe allows.
func (p *prober) failing() bool { return p.failures >= int(p.probe.FailureThreshold) }

// ask reports whether it was time to ask.
func (p *prober) ask(ctx context.Context) bool {
	now := time.Now()
	if now.Before(p.next) {
		return false
	}
	p.next = now.Add(time.Duration(p.probe.PeriodSeconds) * time.Second)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(p.probe.TimeoutSeconds)*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		p.failures++
		return true
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		p.failures++
		return true
	}
	response.Body.Close()
	p.failures++
	if response.StatusCode == http.StatusOK {
		p.failures = 0
	}
	return true
}
