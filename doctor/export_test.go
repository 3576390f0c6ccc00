package doctor

// ReadMetrics reads what a replica serves.
func ReadMetrics(text string) Metrics {
	m := Metrics{Values: map[string]string{}}
	m.read(text)
	return m
}
