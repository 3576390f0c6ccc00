package webhook

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	kjson "sigs.k8s.io/json"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/admit"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// configMap is the part of a ConfigMap that is read.
type configMap struct {
	Data map[string]string `json:"data"`
}

// validateConfigMap refuses a FenceConfig that could not be put in force, and warns of one that is for another cluster. It
// needs no index, so that a config can be fixed at any time.
func (a *Admission) validateConfigMap(ctx context.Context, req admission.Request) (answer, error) {
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
	config, err := policy.ParseConfigMap(policy.ConfigMapSource(a.InstallNamespace, leak.IDs(a.Rules)), obj.Data)
	if err == nil {
		return a.known(ctx, config), nil
	}
	wrong, ok := errors.AsType[*policy.ConfigError](err)
	if !ok {
		return answer{}, err
	}
	return invalid(req, configErrors(wrong)), nil
}

// identityTimeout bounds how long it is asked which cluster this is, which must not keep a config from being fixed.
const identityTimeout = time.Second

// known accepts a FenceConfig, with a warning where it is for another cluster. One of which that cannot be told passes.
func (a *Admission) known(ctx context.Context, config *policy.Config) answer {
	ctx, cancel := context.WithTimeout(ctx, identityTimeout)
	defer cancel()
	ans := allowed()
	ids, err := cluster.Identities(ctx, a.Reader, config.IstioNamespace)
	if err != nil {
		return ans
	}
	if mistake := config.Mistakes(ids); mistake != "" {
		ans.Warnings, ans.outcome = []string{mistake}, outcomeWarned
	}
	return ans
}

// maxProblems is how many problems of a FenceConfig are listed. What lists them costs the square of their number.
const maxProblems = 100

func configErrors(wrong *policy.ConfigError) field.ErrorList {
	path := field.NewPath("data").Key(policy.ConfigMapKey)
	var errs field.ErrorList
	for _, p := range wrong.Problems[:min(len(wrong.Problems), maxProblems)] {
		detail := p.Message
		if p.Field != "" {
			detail = p.Field + ": " + detail
		}
		if p.Line > 0 {
			detail = fmt.Sprintf("line %d: %s", p.Line, detail)
		}
		errs = append(errs, &field.Error{Type: field.ErrorTypeInvalid, Field: path.String(), BadValue: field.OmitValueType{}, Detail: detail})
	}
	if more := len(wrong.Problems) - maxProblems; more > 0 {
		detail := fmt.Sprintf("there are %d more problems", more)
		errs = append(errs, &field.Error{Type: field.ErrorTypeInvalid, Field: path.String(), BadValue: field.OmitValueType{}, Detail: detail})
	}
	return errs
}
