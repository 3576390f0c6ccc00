package election_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/meshfence/meshfence/controller/election"
)

// lease is what an API server holds of a Lease.
type lease struct {
	mu      sync.Mutex
	record  *resourcelock.LeaderElectionRecord
	version int
	// down has every request fail.
	down bool
}

func (l *lease) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.version++
	change()
}

// lock is the lock of one replica on a lease. Like that on a real one it writes only the version that it has seen.
type lock struct {
	*lease

	id   string
	seen int
}

var leases = schema.GroupResource{Resource: "leases"}

var errDown = errors.New("the API server is away")

func (l *lock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, nil, errDown
	}
	if l.record == nil {
		return nil, nil, apierrors.NewNotFound(leases, "fence")
	}
	record := *l.record
	l.seen = l.version
	raw, err := json.Marshal(record)
	return &record, raw, err
}

func (l *lock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	l.set(func() { l.seen = l.version })
	return l.Update(ctx, r)
}

func (l *lock) Update(_ context.Context, r resourcelock.LeaderElectionRecord) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return errDown
	}
	if l.seen != l.version {
		return apierrors.NewConflict(leases, "fence", errors.New("another version"))
	}
	l.version++
	l.record, l.seen = &r, l.version
	return nil
}

func (l *lock) RecordEvent(string) {}
func (l *lock) Identity() string   { return l.id }
func (l *lock) Describe() string   { return "fence" }

// part counts its terms. It ends a while after its context, and fails as often as it is told to.
type part struct {
	mu                      sync.Mutex
	started, running, fails int
	slow                    time.Duration
}

func (p *part) Start(ctx context.Context) error {
	p.mu.Lock()
	p.started++
	if p.fails > 0 {
		p.fails--
		p.mu.Unlock()
		return errDown
	}
	p.running++
	p.mu.Unlock()
	<-ctx.Done()
	time.Sleep(p.slow)
	p.mu.Lock()
	p.running--
	p.mu.Unlock()
	return nil
}

func (p *part) NeedLeaderElection() bool { return true }

// counts returns how often the part was started, and how often it runs now.
func (p *part) counts() [2]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return [2]int{p.started, p.running}
}

// replica takes part in the election until stop is called, which waits for its end.
func replica(t *testing.T, l resourcelock.Interface, p *part) (stop func()) {
	t.Helper()
	e, err := election.New("fence", l, election.DefaultTiming(), logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	e.Add(p)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Start(ctx) }()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the election ended with %v", err)
		}
	}
}

func TestElection(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		// lose takes the lease away, and fix gives the replica a chance to have it back.
		lose, fix func(*lease)
	}{
		"the API server is away": {
			func(l *lease) { l.down = true }, func(l *lease) { l.down = false },
		},
		"another one takes the lease": {
			func(l *lease) { l.record.HolderIdentity = "thief" }, func(l *lease) { l.record.HolderIdentity = "" },
		},
		"the lease is deleted and made by another one": {
			func(l *lease) {
				l.record = &resourcelock.LeaderElectionRecord{HolderIdentity: "thief", LeaseDurationSeconds: 15}
			},
			func(l *lease) { l.record = nil },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l, p := &lease{}, &part{slow: time.Second}
				stop := replica(t, &lock{lease: l, id: "a"}, p)
				defer stop()
				wait := func(want [2]int, when string) {
					t.Helper()
					time.Sleep(13 * time.Second) // within the 15 in which no other may lead
					synctest.Wait()
					if diff := cmp.Diff(want, p.counts()); diff != "" {
						t.Errorf("%s, started and running (-want +got):\n%s", when, diff)
					}
				}
				wait([2]int{1, 1}, "elected")
				l.set(func() { test.lose(l) })
				wait([2]int{1, 0}, "without the lease")
				l.set(func() { test.fix(l) })
				wait([2]int{2, 1}, "elected again")
			})
		})
	}
}

// A term ends when another replica is seen to lead, and not only at the deadline of a renewal.
func TestElectionEndsWhenTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, p := &lease{}, &part{}
		stop := replica(t, &lock{lease: l, id: "a"}, p)
		defer stop()
		time.Sleep(5 * time.Second)
		l.set(func() { l.record.HolderIdentity = "thief" })
		time.Sleep(4 * time.Second) // two for a renewal
		synctest.Wait()
		if diff := cmp.Diff([2]int{1, 0}, p.counts()); diff != "" {
			t.Errorf("started and running (-want +got):\n%s", diff)
		}
	})
}

// The next leader starts when all parts of the one before have ended, and at once then.
func TestElectionHandsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l, first, second := &lease{}, &part{slow: 8 * time.Second}, &part{}
		stopFirst := replica(t, &lock{lease: l, id: "a"}, first)
		synctest.Wait()
		stopSecond := replica(t, &lock{lease: l, id: "b"}, second)
		defer stopSecond()
		done := make(chan struct{})
		go func() {
			stopFirst()
			close(done)
		}()
		time.Sleep(7 * time.Second)
		if got := [][2]int{first.counts(), second.counts()}; got[0] != [2]int{1, 1} || got[1] != [2]int{} {
			t.Errorf("while the first one ends: %v", got)
		}
		<-done
		time.Sleep(5 * time.Second)
		if got := [][2]int{first.counts(), second.counts()}; got[0] != [2]int{1, 0} || got[1] != [2]int{1, 1} {
			t.Errorf("after the first one has ended: %v", got)
		}
	})
}

// A part that fails is started again, and ends neither the others nor the term.
func TestElectionRestartsParts(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]resourcelock.Interface{"elected": &lock{lease: &lease{}, id: "a"}, "without election": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &part{fails: 3}
				stop := replica(t, l, p)
				time.Sleep(10 * time.Second) // 1 + 2 + 4
				if diff := cmp.Diff([2]int{4, 1}, p.counts()); diff != "" {
					t.Errorf("started and running (-want +got):\n%s", diff)
				}
				stop()
				if diff := cmp.Diff([2]int{4, 0}, p.counts()); diff != "" {
					t.Errorf("at the end (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestElectionRefusesTiming(t *testing.T) {
	t.Parallel()
	if _, err := election.New("fence", &lock{lease: &lease{}, id: "a"}, election.Timing{}, logr.Discard()); err == nil {
		t.Error("a lease that never lasts was accepted")
	}
}

// Whether a replica ran shows in the Lease, which a leader renews.
func TestIdleSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	renewed := func(ago time.Duration) *lease {
		return &lease{record: &resourcelock.LeaderElectionRecord{RenewTime: metav1.NewTime(now.Add(-ago))}}
	}
	for name, test := range map[string]struct {
		lease *lease
		want  time.Time
		err   error
	}{
		"never a leader":     {lease: &lease{}},
		"one leads":          {lease: renewed(2 * time.Second)},
		"one may still lead": {lease: renewed(10 * time.Second)},
		"none has for long":  {lease: renewed(time.Minute), want: now.Add(-time.Minute)},
		"not to be told":     {lease: &lease{down: true}, err: errDown},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := election.IdleSince(t.Context(), &lock{lease: test.lease, id: "a"}, election.DefaultTiming(), now)
			if !errors.Is(err, test.err) || !got.Equal(test.want) {
				t.Errorf("%s, %v, want %s, %v", got, err, test.want, test.err)
			}
		})
	}
}
