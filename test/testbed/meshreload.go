package testbed

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// reloads is the series of meshfence that counts the configs that came into force.
const reloads = `meshfence_config_reloads_total{outcome="success"}`

// Reconfigure writes a FenceConfig, which must differ from the one in force, and returns when every replica has it
// in force.
func (m *Meshfence) Reconfigure(ctx context.Context, fenceConfig string) error {
	before := make([]float64, m.Replicas())
	for i := range before {
		var err error
		if before[i], err = m.Metric(ctx, i, reloads); err != nil {
			return err
		}
	}
	if err := m.Configure(ctx, fenceConfig); err != nil {
		return err
	}
	return Eventually(ctx, readyWithin, func(ctx context.Context) error {
		for i := range before {
			now, err := m.Metric(ctx, i, reloads)
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

// Metric returns the value of a series of a replica; 0 where it is absent, as one is until it is counted for the first time.
func (m *Meshfence) Metric(ctx context.Context, replica int, series string) (float64, error) {
	return Metric(ctx, m.MetricsURL(replica), series)
}

// Metric is [Meshfence.Metric] for whatever serves metrics at a URL.
func Metric(ctx context.Context, url, series string) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, fmt.Errorf("read metrics: %w", err)
	}
	for line := range strings.Lines(string(body)) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, nil
}
