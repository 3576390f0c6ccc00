package certificate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/meshfence/meshfence/webhook/certificate"
)

func selfSignedOptions() certificate.SelfSignedOptions {
	return certificate.SelfSignedOptions{Namespace: "meshfence", Service: "fence", Lookout: certificate.Lookout{Configurations: ourConfigurations}}
}

func TestSelfSignedOptions(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit func(*certificate.SelfSignedOptions)
		want []string
	}{
		"defaults": {func(*certificate.SelfSignedOptions) {}, nil},
		"short": {func(o *certificate.SelfSignedOptions) {
			o.CADuration, o.LeafDuration, o.Grace = 9*time.Minute, 3*time.Minute, time.Minute
		}, nil},
		"nothing": {func(o *certificate.SelfSignedOptions) { *o = certificate.SelfSignedOptions{} }, []string{
			"Namespace must be set", "Service must be set", "Configurations.Mutating must be set", "Configurations.Validating must be set",
		}},
		"leaf outlives its CA": {func(o *certificate.SelfSignedOptions) { o.CADuration = 20 * 24 * time.Hour }, []string{
			"LeafDuration must be at most a third of CADuration 480h0m0s: 168h0m0s",
		}},
		"grace outlives the leaf": {func(o *certificate.SelfSignedOptions) { o.LeafDuration = 27 * time.Second }, []string{
			"Grace must be positive and at most a third of LeafDuration 27s: 10s",
		}},
		"negative": {func(o *certificate.SelfSignedOptions) { o.Grace = -1 }, []string{
			"Grace must be positive and at most a third of LeafDuration 168h0m0s: -1ns",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := selfSignedOptions()
			c.edit(&o)
			_, err := certificate.SelfSigned(newRecordingManager(t), o)
			var got []string
			if err != nil {
				got = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("SelfSigned (-want +got):\n%s", diff)
			}
		})
	}
}

// The source runs on every replica, what writes runs on the leader.
func TestRunnablesAndLeaderElection(t *testing.T) {
	t.Parallel()
	selfSigned, mounted := newRecordingManager(t), newRecordingManager(t)
	if _, err := certificate.SelfSigned(selfSigned, selfSignedOptions()); err != nil {
		t.Fatal(err)
	}
	if _, err := certificate.Mounted(mounted, t.TempDir(), certificate.Lookout{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"cache", "leader", "everywhere"}, placements(t, selfSigned)); diff != "" {
		t.Errorf("SelfSigned (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"leader", "everywhere"}, placements(t, mounted)); diff != "" {
		t.Errorf("Mounted (-want +got):\n%s", diff)
	}
}

func placements(t *testing.T, mgr *recordingManager) []string {
	t.Helper()
	var out []string
	for _, r := range mgr.added {
		election, ok := r.(manager.LeaderElectionRunnable)
		switch _, isCluster := r.(cluster.Cluster); {
		case isCluster:
			out = append(out, "cache")
		case ok && !election.NeedLeaderElection():
			out = append(out, "everywhere")
		default:
			out = append(out, "leader")
		}
	}
	return out
}
