package search

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"
	"istio.io/istio/pkg/log"

	"github.com/meshfence/meshfence/policy/object"
)

// quiet has istiod's code log nothing.
func quiet() {
	for _, scope := range log.Scopes() {
		scope.SetOutputLevel(log.NoneLevel)
	}
}

// schemaOf returns the schema of a kind of Istio's; ok is false for other kinds.
func schemaOf(o Object) (schema resource.Schema, ok bool) {
	if !strings.HasPrefix(text(o["apiVersion"]), "networking.istio.io/") {
		return nil, false
	}
	for _, s := range collections.Pilot.All() {
		if s.Group() == "networking.istio.io" && s.Kind() == o.Kind() {
			return s, true
		}
	}
	return nil, false
}

// configOf returns an object of Istio's as istiod reads it, made at that time.
func configOf(o Object, made time.Time) (config.Config, error) {
	schema, ok := schemaOf(o)
	if !ok {
		return config.Config{}, fmt.Errorf("%s is no kind of Istio's", o.Kind())
	}
	spec, err := json.Marshal(o.spec())
	if err != nil {
		return config.Config{}, err
	}
	read, err := crd.FromJSON(schema, string(spec))
	if err != nil {
		return config.Config{}, fmt.Errorf("read %s: %w", o.Kind(), err)
	}
	c := config.Config{
		Meta: config.Meta{
			GroupVersionKind: schema.GroupVersionKind(), Namespace: o.Namespace(), Name: o.Name(), Domain: domain,
			Labels: o.strings("labels"), Annotations: o.strings("annotations"), CreationTimestamp: made, UID: o.Name(),
		},
		Spec: read,
	}
	if o["status"] != nil {
		status, err := json.Marshal(o["status"])
		if err != nil {
			return config.Config{}, err
		}
		raw := json.RawMessage(status)
		if c.Status, err = crd.StatusJSONFromMap(schema, &raw); err != nil {
			return config.Config{}, fmt.Errorf("read status of %s: %w", o.Kind(), err)
		}
	}
	return c, nil
}

// invalid says why Istio's own validation refuses an object, or the API server a Service; nil where they do not.
func invalid(o Object) error {
	schema, ok := schemaOf(o)
	if !ok {
		return invalidService(o)
	}
	c, err := configOf(o, time.Time{})
	if err != nil {
		return err
	}
	_, err = schema.ValidateConfig(c)
	return err
}

// invalidService looks at what the search leaves out of Services when it makes them smaller.
func invalidService(o Object) error {
	if o.Kind() != object.KindService {
		return nil
	}
	var service corev1.Service
	if err := o.into(&service); err != nil {
		return err
	}
	if len(service.Spec.Ports) == 0 || service.Spec.ClusterIP == "" || len(service.Spec.ClusterIPs) == 0 {
		return errors.New("a Service has an address and ports")
	}
	for _, p := range service.Spec.Ports {
		if p.Port < 1 || p.Name == "" && len(service.Spec.Ports) > 1 {
			return errors.New("a port has a number, and where there are several a name")
		}
	}
	return nil
}
