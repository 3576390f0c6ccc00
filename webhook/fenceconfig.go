package webhook

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	kjson "sigs.k8s.io/json"

	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// configMap is the part of a ConfigMap that is read.
type configMap struct {
	Data map[string]string `json:"data"`
}

// validateConfigMap refuses a FenceConfig that could not be put in force. It needs no index, so that a
// config can be fixed at any time.
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
		if err := kjson.UnmarshalCaseSensitivePreserveInts(req.OldObject.Raw, &old); err == nil && policy.SameConfig(obj.Data, old.Data) {
			return allowed(), nil
		}
	}
	_, err := policy.ParseConfigMap(policy.ConfigMapSource(a.InstallNamespace, leak.IDs(a.Rules)), obj.Data)
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
