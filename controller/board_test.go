package controller_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/events"

	"github.com/meshfence/meshfence/controller"
)

// TestUnmended: an object that keeps coming back from admission as it was is told of once, and one that does so for a
// moment is not.
func TestUnmended(t *testing.T) {
	t.Parallel()
	for times, want := range map[int]int{0: 0, 1: 0, 2: 0, 3: 1, 10: 1} {
		t.Run(fmt.Sprint(times), func(t *testing.T) {
			t.Parallel()
			recorder := events.NewFakeRecorder(20)
			if err := controller.SendUnmended(times, recorder, prometheus.NewRegistry()); err != nil {
				t.Fatal(err)
			}
			close(recorder.Events)
			got := 0
			for event := range recorder.Events {
				got++
				if !strings.HasPrefix(event, "Warning BackfillUndone admission left the object as it was 3 times: another webhook takes out what it adds") {
					t.Errorf("event %q", event)
				}
			}
			if got != want {
				t.Errorf("%d Events, want %d", got, want)
			}
		})
	}
}
