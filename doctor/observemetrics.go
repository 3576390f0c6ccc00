package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// The series that every replica must agree in.
const (
	seriesBuild  = "meshfence_build_info"
	seriesConfig = "meshfence_config_info"
	seriesReload = "meshfence_config_last_reload_success"
	seriesHold   = "meshfence_hold_active"
)

// seriesServed is the end of the certificate that a replica serves, in which replicas may differ.
const seriesServed = `meshfence_certificate_expiry_timestamp_seconds{certificate="serving"}`

// metrics reads those of a Pod through the API server.
func (o *Observer) metrics(ctx context.Context, pod corev1.Pod) Metrics {
	seen := Metrics{Pod: pod.Name, Values: map[string]string{}}
	if asksForToken(pod) {
		seen.Err = errors.New("they are for those who send a token (--metrics-auth), which the API server passes on from nobody; the alert MeshfenceFenceConfigsDiffer compares replicas, too")
		return seen
	}
	config := rest.CopyConfig(o.Rest)
	config.GroupVersion, config.APIPath, config.NegotiatedSerializer = &corev1.SchemeGroupVersion, "/api", scheme.Codecs.WithoutConversion()
	api, err := rest.RESTClientFor(config)
	if err != nil {
		seen.Err = err
		return seen
	}
	body, err := api.Get().Namespace(o.Namespace).Resource("pods").Name(pod.Name + ":8080").SubResource("proxy").Suffix("metrics").DoRaw(ctx)
	if err != nil {
		seen.Err = fmt.Errorf("%s: %w", apierrors.ReasonForError(err), err)
	}
	seen.read(string(body))
	return seen
}

// asksForToken reports whether a replica serves its metrics to readers alone.
func asksForToken(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Containers, func(c corev1.Container) bool {
		return slices.Contains(c.Args, "--metrics-auth") || slices.Contains(c.Args, "--metrics-auth=true")
	})
}

// read keeps the series that every replica must agree in, of the build and of the config what their labels say, and the end of
// the certificate.
func (m *Metrics) read(text string) {
	for line := range strings.Lines(text) {
		series, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		metric, labels, _ := strings.Cut(series, "{")
		switch metric {
		case seriesBuild, seriesConfig:
			m.Values[metric] = "{" + labels
		case seriesReload, seriesHold:
			m.Values[series] = value
		}
		if seconds, err := strconv.ParseFloat(value, 64); err == nil && series == seriesServed {
			m.Served = time.Unix(int64(seconds), 0).UTC()
		}
	}
}
