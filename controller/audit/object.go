package audit

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/meshfence/meshfence/cluster"
	"github.com/meshfence/meshfence/policy"
	"github.com/meshfence/meshfence/policy/leak"
	"github.com/meshfence/meshfence/policy/object"
)

// Object judges an object of the index; one that is gone has no findings.
func (a *Auditor) Object(ctx context.Context, key object.Key) (Result, error) {
	return a.object(ctx, key, a.Guard.Check, a.pods())
}

// About is Object for what was found about one host, or about none in particular.
func (a *Auditor) About(ctx context.Context, key object.Key, fqdn string) (Result, error) {
	about := func(o *object.Object, view *policy.View) []leak.Finding { return a.Guard.About(o, fqdn, view) }
	return a.object(ctx, key, about, a.pods())
}

// object judges an object of the index, and again with the Pods that were asked for.
func (a *Auditor) object(ctx context.Context, key object.Key, judge func(*object.Object, *policy.View) []leak.Finding, pods pods) (Result, error) {
	view := a.Index.View()
	o, ok := view.Object(key)
	if !ok {
		return Result{Key: key}, nil
	}
	findings := judge(o, view)
	for questions := view.MissingPods(); len(questions) > 0; questions = view.MissingPods() {
		for _, q := range questions {
			exists, err := pods.exist(ctx, q)
			if err != nil {
				return Result{}, err
			}
			view.LoadPods(q, exists)
		}
		findings = judge(o, view)
	}
	return a.result(o, findings, view), nil
}

// pods answers which Pods there are, each question once.
type pods struct {
	reader client.Reader
	known  map[policy.PodQuestion]bool
}

func (a *Auditor) pods() pods { return pods{a.Reader, map[policy.PodQuestion]bool{}} }

func (p pods) exist(ctx context.Context, q policy.PodQuestion) (bool, error) {
	if exists, known := p.known[q]; known {
		return exists, nil
	}
	exists, err := cluster.HasPod(ctx, p.reader, q)
	if err == nil {
		p.known[q] = exists
	}
	return exists, err
}
