package webhook

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	kjson "sigs.k8s.io/json"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// ConfigSource says how the FenceConfig in the ConfigMap of an install namespace is read.
func ConfigSource(installNamespace string, rules []leak.Rule) policy.Source {
	return policy.Source{
		File:             fmt.Sprintf("ConfigMap %s/%s", installNamespace, policy.ConfigMapName),
		InstallNamespace: installNamespace,
		Rules:            leak.IDs(rules),
	}
}

// LoadConfig reads the FenceConfig from the cluster. The reader must not be a cache that has not been
// started. The error is a *policy.ConfigError where the config is there and wrong.
func LoadConfig(ctx context.Context, reader client.Reader, source policy.Source) (*policy.Config, error) {
	return loadConfig(ctx, reader, source, policy.ConfigMapName)
}

func loadConfig(ctx context.Context, reader client.Reader, source policy.Source, name string) (*policy.Config, error) {
	var object corev1.ConfigMap
	key := client.ObjectKey{Namespace: source.InstallNamespace, Name: name}
	if err := reader.Get(ctx, key, &object); err != nil {
		return nil, fmt.Errorf("get FenceConfig: %w", err)
	}
	return parseConfig(object.Data, source)
}

func isConfigError(err error) bool {
	_, ok := errors.AsType[*policy.ConfigError](err)
	return ok
}

func parseConfig(data map[string]string, source policy.Source) (*policy.Config, error) {
	text, ok := data[policy.ConfigMapKey]
	if !ok {
		return nil, &policy.ConfigError{Problems: []policy.Problem{{
			File: source.File, Message: fmt.Sprintf("must have the key %s", policy.ConfigMapKey),
		}}}
	}
	return policy.ParseConfig(source, []byte(text))
}

// configMap is the part of a ConfigMap that is read.
type configMap struct {
	Data map[string]string `json:"data"`
}

// sameConfig says whether both hold the same FenceConfig, or none.
func (c configMap) sameConfig(other configMap) bool {
	a, inOne := c.Data[policy.ConfigMapKey]
	b, inOther := other.Data[policy.ConfigMapKey]
	return a == b && inOne == inOther
}

// validateConfigMap refuses a FenceConfig that could not be put in force. It needs no index, so that a
// config can be mended at any time.
func (a *Admission) validateConfigMap(req admission.Request) (answer, error) {
	if req.Name != policy.ConfigMapName {
		return allowed(), nil
	}
	var obj, old configMap
	if err := kjson.UnmarshalCaseSensitivePreserveInts(req.Object.Raw, &obj); err != nil {
		return answer{}, &admit.BadRequest{Err: fmt.Errorf("decode %s: %w", object.KindConfigMap, err)}
	}
	if len(req.OldObject.Raw) > 0 {
		// An old object that cannot be read excuses nothing.
		if err := kjson.UnmarshalCaseSensitivePreserveInts(req.OldObject.Raw, &old); err == nil && obj.sameConfig(old) {
			return allowed(), nil
		}
	}
	_, err := parseConfig(obj.Data, ConfigSource(a.InstallNamespace, a.Rules))
	if err == nil {
		return allowed(), nil
	}
	wrong, ok := errors.AsType[*policy.ConfigError](err)
	if !ok {
		return answer{}, err
	}
	return invalid(req, configErrors(wrong)), nil
}

func configErrors(wrong *policy.ConfigError) field.ErrorList {
	path := field.NewPath("data").Key(policy.ConfigMapKey)
	var errs field.ErrorList
	for _, p := range wrong.Problems {
		detail := p.Message
		if p.Field != "" {
			detail = p.Field + ": " + detail
		}
		if p.Line > 0 {
			detail = fmt.Sprintf("line %d: %s", p.Line, detail)
		}
		errs = append(errs, &field.Error{Type: field.ErrorTypeInvalid, Field: path.String(), BadValue: field.OmitValueType{}, Detail: detail})
	}
	return errs
}
