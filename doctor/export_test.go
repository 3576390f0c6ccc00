package doctor

import "context"

// ReadMetrics reads what a replica serves.
func ReadMetrics(text string) Metrics {
	m := Metrics{Values: map[string]string{}}
	m.read(text)
	return m
}

// SeeGitOps looks for what Argo CD shows as OutOfSync.
func (o *Observer) SeeGitOps(ctx context.Context) (GitOps, error) { return o.gitOps(ctx) }
