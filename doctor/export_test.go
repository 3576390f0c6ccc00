package doctor

import corev1 "k8s.io/api/core/v1"

// ReadMetrics reads what a replica serves.
func ReadMetrics(text string) Metrics {
	m := Metrics{Values: map[string]string{}}
	m.read(text)
	return m
}

// AsksForToken reports whether a replica serves its metrics to readers alone.
func AsksForToken(pod corev1.Pod) bool { return asksForToken(pod) }
