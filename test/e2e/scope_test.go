package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const service = `apiVersion: v1
kind: Service
metadata: {name: reviews, annotations: {%s}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
`

// fenced is what a Service carries of meshfence.
type fenced struct{ Label, By string }

func (s *suite) fenced(t *testing.T, namespace string) fenced {
	t.Helper()
	metadata := s.get(t, "service", "reviews", "-n", namespace)["metadata"].(map[string]any)
	return fenced{lookup(metadata, "labels", "meshfence.io/fenced"), lookup(metadata, "annotations", "meshfence.io/fenced-by")}
}

// lookup returns a string below a mapping; empty where it is absent.
func lookup(in map[string]any, field, key string) string {
	inner, _ := in[field].(map[string]any)
	value, _ := inner[key].(string)
	return value
}

func TestScope(t *testing.T) {
	s := shared(t)
	for name, test := range map[string]struct {
		labels     map[string]string
		annotation string
		scope      string // %s is the namespace
		want       fenced
	}{
		"nothing asks":            {},
		"annotation":              {annotation: "meshfence.io/fence: strict", want: fenced{"strict", "service annotation"}},
		"annotation prefer":       {annotation: "meshfence.io/fence: prefer", want: fenced{"prefer", "service annotation"}},
		"namespace label":         {labels: map[string]string{"meshfence.io/fence": "strict"}, want: fenced{"strict", "namespace %s"}},
		"annotation loosens":      {labels: map[string]string{"meshfence.io/fence": "strict"}, annotation: "meshfence.io/fence: none"},
		"config default":          {scope: "default: prefer", want: fenced{"prefer", "config scope.default"}},
		"config namespace":        {scope: "namespaces: [{name: %s, fence: strict}]", want: fenced{"strict", "config scope.namespaces[0]"}},
		"config selector":         {labels: map[string]string{"tier": "data"}, scope: "namespaces: [{selector: {matchLabels: {tier: data}}, fence: strict}]", want: fenced{"strict", "config scope.namespaces[0]"}},
		"config service":          {scope: "services: [{namespace: %s, name: reviews, fence: strict}]", want: fenced{"strict", "config scope.services[0]"}},
		"label beats namespaces":  {labels: map[string]string{"meshfence.io/fence": "prefer"}, scope: "namespaces: [{name: %s, fence: strict}]", want: fenced{"prefer", "namespace %s"}},
		"lock is a floor":         {annotation: "meshfence.io/fence: none", scope: "namespaces: [{name: %s, fence: strict, locked: true}]", want: fenced{"strict", "config scope.namespaces[0] (locked)"}},
		"lock may be tightened":   {annotation: "meshfence.io/fence: strict", scope: "namespaces: [{name: %s, fence: prefer, locked: true}]", want: fenced{"strict", "service annotation"}},
		"exempt namespace":        {annotation: "meshfence.io/fence: strict", scope: "exemptNamespaces: [%s]"},
		"exempt beats the config": {scope: "default: strict\n  exemptNamespaces: [%s, kube-system, default, istio-system, meshfence-system]"},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := s.CreateNamespace(t, test.labels)
			if test.scope != "" {
				s.configure(t, defaultConfig+"scope:\n  "+strings.ReplaceAll(test.scope, "%s", namespace)+"\n")
			} else {
				s.configure(t, defaultConfig)
			}
			s.kubectl(t, fmt.Sprintf(service, test.annotation), "apply", "-n", namespace, "-f", "-")
			want := test.want
			want.By = strings.ReplaceAll(want.By, "%s", namespace)
			if diff := cmp.Diff(want, s.fenced(t, namespace)); diff != "" {
				t.Errorf("Service (-want +got):\n%s", diff)
			}
		})
	}
}

// The next write of a Service follows every change of what decides.
func TestScopeChangesLive(t *testing.T) {
	s := shared(t)
	namespace := s.CreateNamespace(t, nil)
	s.kubectl(t, fmt.Sprintf(service, ""), "apply", "-n", namespace, "-f", "-")
	expect := func(label string) {
		t.Helper()
		eventually(t, "the Service is "+label, func(context.Context) error {
			s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "--overwrite", "touched="+t.Name()+label)
			if got := s.fenced(t, namespace).Label; got != label {
				return fmt.Errorf("label %q", got)
			}
			return nil
		})
	}
	expect("")
	s.kubectl(t, "", "label", "namespace", namespace, "meshfence.io/fence=strict")
	expect("strict")
	s.kubectl(t, "", "label", "namespace", namespace, "--overwrite", "meshfence.io/fence=prefer")
	expect("prefer")
	s.configure(t, defaultConfig+"scope: {namespaces: [{name: "+namespace+", fence: strict, locked: true}]}\n")
	expect("strict")
	s.configure(t, defaultConfig)
	s.kubectl(t, "", "label", "namespace", namespace, "meshfence.io/fence-")
	expect("")
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence=strict")
	if got := s.fenced(t, namespace).Label; got != "strict" {
		t.Errorf("annotated, label %q", got)
	}
	s.kubectl(t, "", "annotate", "service", "reviews", "-n", namespace, "meshfence.io/fence-")
	if got := s.fenced(t, namespace); got != (fenced{}) {
		t.Errorf("annotation removed, still %+v", got)
	}
}
