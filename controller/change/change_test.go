package change_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/controller/change"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/hostname"
	"github.com/meshfence/meshfence/policy/object"
)

// TestHas: a set has the Services that changes are about.
func TestHas(t *testing.T) {
	t.Parallel()
	shopA, shopB, otherA := hostname.Host{Namespace: "shop", Name: "a"}, hostname.Host{Namespace: "shop", Name: "b"}, hostname.Host{Namespace: "other", Name: "a"}
	hosts := []hostname.Host{shopA, shopB, otherA}
	for name, test := range map[string]struct {
		changes []policy.Change
		want    []hostname.Host
	}{
		"nothing":             {nil, nil},
		"a Service":           {[]policy.Change{{Namespace: "shop", Service: "a"}}, []hostname.Host{shopA}},
		"a Namespace":         {[]policy.Change{{Namespace: "shop"}}, []hostname.Host{shopA, shopB}},
		"everything":          {[]policy.Change{{}}, hosts},
		"Services of several": {[]policy.Change{{Namespace: "shop", Service: "b"}, {Namespace: "other", Service: "a"}}, []hostname.Host{shopB, otherA}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := change.NewSet()
			for _, c := range test.changes {
				set.Add(c)
			}
			var got []hostname.Host
			for _, host := range hosts {
				if set.Has(host) {
					got = append(got, host)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("has (-want +got):\n%s", diff)
			}
		})
	}
}

// TestInbox: what is put in is taken once, and however much it is wakes once.
func TestInbox(t *testing.T) {
	t.Parallel()
	inbox := change.NewInbox()
	key := object.Key{Kind: object.KindVirtualService, Namespace: "shop", Name: "a"}
	inbox.Put(policy.Change{Namespace: "shop", Service: "a"})
	inbox.PutObject(key)
	if len(inbox.Full) != 1 {
		t.Errorf("the signal is set %d times, want once", len(inbox.Full))
	}
	set, objects := inbox.Take()
	if diff := cmp.Diff(map[hostname.Host]bool{{Namespace: "shop", Name: "a"}: true}, set.Services); diff != "" {
		t.Errorf("Services (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[object.Key]bool{key: true}, objects); diff != "" {
		t.Errorf("objects (-want +got):\n%s", diff)
	}
	if set, objects := inbox.Take(); set.All || len(set.Namespaces)+len(set.Services)+len(objects) > 0 {
		t.Errorf("taken twice: %v, %v", set, objects)
	}
}

// TestSignal: a wait ends with the signal, with its time, or with the context, which it reports.
func TestSignal(t *testing.T) {
	t.Parallel()
	waits := map[string]func(context.Context, change.Signal) bool{
		"wait":  func(ctx context.Context, s change.Signal) bool { return s.Wait(ctx) },
		"for":   func(ctx context.Context, s change.Signal) bool { return s.WaitFor(ctx, time.Minute) },
		"sleep": func(ctx context.Context, _ change.Signal) bool { return change.Sleep(ctx, time.Minute) },
	}
	for name, test := range map[string]struct {
		wait        string
		set, cancel bool
		want        bool
		after       time.Duration
	}{
		"the signal is set":                     {wait: "wait", set: true, want: true},
		"the context ends":                      {wait: "wait", cancel: true, after: time.Hour},
		"the signal is set before the time":     {wait: "for", set: true, want: true},
		"the time passes":                       {wait: "for", want: true, after: time.Minute},
		"nobody can end a sleep but the time":   {wait: "sleep", set: true, want: true, after: time.Minute},
		"and the context, which had ended":      {wait: "sleep", cancel: true},
		"the context had ended before the time": {wait: "for", cancel: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				signal := change.NewSignal()
				if test.set {
					signal.Set()
					signal.Set()
				}
				if test.cancel && test.after == 0 {
					cancel()
				} else if test.cancel {
					time.AfterFunc(test.after, cancel)
				}
				start := time.Now()
				if got := waits[test.wait](ctx, signal); got != test.want || time.Since(start) != test.after {
					t.Errorf("%t after %v, want %t after %v", got, time.Since(start), test.want, test.after)
				}
			})
		})
	}
}
