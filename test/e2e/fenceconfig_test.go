package e2e_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Installing again leaves the FenceConfig as it is; one that is deleted stays in force, is told of, and outlives the
// process; and the next one counts as soon as it comes.
func TestFenceConfigLife(t *testing.T) {
	s := shared(t)
	t.Cleanup(func() {
		if err := s.meshfence.Configure(context.Background(), s.config); err != nil {
			t.Error(err)
		}
	})
	inForce := func() string {
		return s.kubectl(t, "", "get", "configmap", "meshfence", "-n", "meshfence-system", "-o", `jsonpath={.data.config\.yaml}`)
	}
	kept := func(ctx context.Context) error {
		text, _, err := s.Kubectl(ctx, "", "get", "configmap", "meshfence-last-good", "-n", "meshfence-system", "-o", `jsonpath={.data.config\.yaml}`)
		if err == nil && text != s.config {
			err = fmt.Errorf("last good config %q", text)
		}
		return err
	}
	eventually(t, "the last good config is kept", kept)
	s.kubectl(t, "", "apply", "-k", filepath.Join("..", "..", "manifests", "overlays", "self-signed"))
	if got := inForce(); got != s.config {
		t.Errorf("installing again makes the config %q", got)
	}
	if err := kept(t.Context()); err != nil {
		t.Errorf("installing again: %v", err)
	}

	namespace := s.strictNamespace(t)
	s.kubectl(t, "", "delete", "configmap", "meshfence", "-n", "meshfence-system")
	eventually(t, "the deletion is told", func(ctx context.Context) error { return s.told(ctx, "FenceConfigDeleted") })
	for i := range s.meshfence.Replicas() {
		if err := s.meshfence.StopReplica(t.Context(), i); err != nil {
			t.Error(err)
		}
		if err := s.meshfence.StartReplica(context.Background(), i); err != nil { // it outlives the test
			t.Fatal(err)
		}
		if got := s.metric(t, i, "meshfence_config_last_reload_success"); got != 0 {
			t.Errorf("replica %d says that the config in the cluster is in force", i)
		}
	}
	eventually(t, "the start is told", func(ctx context.Context) error { return s.told(ctx, "StaleFenceConfig") })
	if err := s.meshfence.WaitServing(t.Context()); err != nil {
		t.Fatal(err)
	}
	const leaky = "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: leaky}, " +
		"spec: {host: reviews, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}}"
	if message := s.refused(t, leaky, "create", "-n", namespace, "-f", "-"); !strings.Contains(message, "destinationrule-passthrough") {
		t.Errorf("refused for another reason: %s", message)
	}

	if err := s.meshfence.Configure(t.Context(), s.config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next config counts", func(context.Context) error {
		for i := range s.meshfence.Replicas() {
			if s.metric(t, i, "meshfence_config_last_reload_success") != 1 {
				return fmt.Errorf("not in replica %d", i)
			}
		}
		return nil
	})
}

// told returns nil where there is an Event about the FenceConfig with that reason.
func (s *suite) told(ctx context.Context, reason string) error {
	reasons, _, err := s.Kubectl(ctx, "", "get", "events", "-n", "meshfence-system", "-o", `jsonpath={.items[?(@.involvedObject.name=="meshfence")].reason}`)
	if err == nil && !strings.Contains(reasons, reason) {
		err = fmt.Errorf("Events %q", reasons)
	}
	return err
}
