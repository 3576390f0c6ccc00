package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/meshfence/meshfence/install"
	"github.com/meshfence/meshfence/registry"
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
	config := rest.CopyConfig(o.Rest)
	config.GroupVersion, config.APIPath, config.NegotiatedSerializer = &corev1.SchemeGroupVersion, "/api", scheme.Codecs.WithoutConversion()
	api, err := rest.RESTClientFor(config)
	if err != nil {
		seen.Err = err
		return seen
	}
	request := api.Get().Namespace(o.Namespace).Resource("pods").SubResource("proxy").Suffix("metrics")
	if install.HasMetricsAuth(pod.Spec) {
		token, err := o.readerToken(ctx)
		if err != nil {
			seen.Err = err
			return seen
		}
		request = request.Name("https:"+pod.Name+":8080").SetHeader(registry.ProxiedAuthorization, "Bearer "+token)
	} else {
		request = request.Name(pod.Name + ":8080")
	}
	body, err := request.DoRaw(ctx)
	if err != nil {
		seen.Err = fmt.Errorf("%s: %w", apierrors.ReasonForError(err), err)
	}
	seen.read(string(body))
	return seen
}

// readerToken returns a token of the ServiceAccount that may read metrics, for as short a time as the API server gives one.
// The user's own may be worth more, and is for the API server alone.
func (o *Observer) readerToken(ctx context.Context) (string, error) {
	const least = 600 // seconds; ValidateTokenRequest in Kubernetes' pkg/apis/authentication/validation
	reader := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: install.MetricsReader}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(least))}}
	if err := o.Client.SubResource("token").Create(ctx, reader, request); err != nil {
		return "", fmt.Errorf("they are for those who send a token (--metrics-auth): one of ServiceAccount %s: %w", reader.Name, err)
	}
	return request.Status.Token, nil
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
