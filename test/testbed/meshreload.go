package testbed

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// reloads is the series of meshfence that counts the configs that came into force.
const reloads = `meshfence_config_reloads_total{outcome="success"} `

// Reconfigure writes a FenceConfig, which must differ from the one in force, and returns when every replica has it
// in force.
func (m *Meshfence) Reconfigure(ctx context.Context, fenceConfig string) error {
	before := make([]string, m.Replicas())
	for i := range before {
		var err error
		if before[i], err = m.reloads(ctx, i); err != nil {
			return err
		}
	}
	if err := m.Configure(ctx, fenceConfig); err != nil {
		return err
	}
	return Eventually(ctx, readyWithin, func(ctx context.Context) error {
		for i := range before {
			now, err := m.reloads(ctx, i)
			if err != nil {
				return err
			}
			if now == before[i] {
				return fmt.Errorf("replica %d has not loaded the config", i)
			}
		}
		return nil
	})
}

// reloads returns how many configs came into force in a replica after its first, as text.
func (m *Meshfence) reloads(ctx context.Context, replica int) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, m.MetricsURL(replica), nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", fmt.Errorf("read metrics of replica %d: %w", replica, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", fmt.Errorf("read metrics of replica %d: %w", replica, err)
	}
	for line := range strings.Lines(string(body)) {
		if count, ok := strings.CutPrefix(line, reloads); ok {
			return strings.TrimSpace(count), nil
		}
	}
	return "0", nil // the series begins with the first
}
