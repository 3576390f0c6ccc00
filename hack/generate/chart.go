package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const (
	templatesFolder = "charts/meshfence/templates"
	overlaysFolder  = "manifests/overlays"
	ownNamespace    = "meshfence-system"
	// templateHeader marks the templates that are made here. The others are written by hand.
	templateHeader = "{{- /* Made from manifests by make generate. */ -}}\n"
)

// overlays are the two that the chart joins, by the value of certificates.
func overlays() [2]string { return [2]string{"self-signed", "cert-manager"} }

// parameter puts what values decide in the place of what the manifests say.
type parameter struct{ manifest, template string }

// parameters are applied in this order, and each must find its place.
func parameters() []parameter {
	return []parameter{
		{"  replicas: 2\n", "  replicas: {{ .Values.replicas }}\n"},
		{"        image: meshfence/meshfence:latest\n", "        {{- with .Values.image }}\n" +
			"        image: {{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}\n" +
			optional(8, ".pullPolicy", "imagePullPolicy") + "        {{- end }}\n"},
		{"        env:\n", optional(8, ".Values.extraArgs", "") + "        env:\n"},
		{"        resources:\n          limits:\n            memory: 512Mi\n          requests:\n            cpu: 100m\n            memory: 128Mi\n",
			optional(8, ".Values.resources", "resources")},
		{"      serviceAccountName: meshfence\n", "      serviceAccountName: meshfence\n" +
			optional(6, ".Values.imagePullSecrets", "imagePullSecrets") +
			optional(6, ".Values.nodeSelector", "nodeSelector") +
			optional(6, ".Values.priorityClassName", "priorityClassName") +
			optional(6, ".Values.tolerations", "tolerations")},
		{"  failurePolicy: Fail\n", "  failurePolicy: {{ .Values.failurePolicy }}\n"},
		{"      - kube-system\n      - meshfence-system\n", "      - kube-system\n      - meshfence-system\n" +
			optional(6, ".Values.excludedNamespaces", "")},
		// Without names the rule would be for every ConfigMap.
		{"  resourceNames:\n  - istio\n", "  resourceNames:\n" +
			"  {{- dig \"controlPlane\" \"meshConfigMaps\" (list) .Values.fenceConfig | default (list \"istio\") | toYaml | nindent 2 }}\n"},
		{ownNamespace, "{{ .Release.Namespace }}"},
	}
}

// conditions say when objects of a kind are made, if that is not always.
func conditions() map[string]string {
	return map[string]string{"PodDisruptionBudget": "and .Values.podDisruptionBudget (gt (int .Values.replicas) 1)"}
}

// optional returns lines with a value under a key, or with the elements of a list, which are left out where it is empty.
func optional(indent int, value, key string) string {
	content := "toYaml ."
	if key != "" {
		content = fmt.Sprintf("dict %q . | toYaml", key)
	}
	blank := strings.Repeat(" ", indent)
	return fmt.Sprintf("%[1]s{{- with %[2]s }}\n%[1]s{{- %[3]s | nindent %[4]d }}\n%[1]s{{- end }}\n", blank, value, content, indent)
}

// chart makes the templates, one file for each kind of object, and the values.
func chart() (pages, error) {
	joined, kinds, err := joinOverlays()
	if err != nil {
		return nil, err
	}
	made := pages{}
	for i, text := range joined {
		path := filepath.Join(templatesFolder, strings.ToLower(kinds[i])+".yaml")
		if made[path] == nil {
			made[path] = []byte(templateHeader)
		}
		if condition := conditions()[kinds[i]]; condition != "" {
			text = fmt.Sprintf("{{- if %s }}\n%s{{- end }}\n", condition, text)
		}
		made[path] = append(made[path], "---\n"+text...)
	}
	for _, p := range parameters() {
		found := false
		for path, text := range made {
			found = found || bytes.Contains(text, []byte(p.manifest))
			made[path] = bytes.ReplaceAll(text, []byte(p.manifest), []byte(p.template))
		}
		if !found {
			return nil, fmt.Errorf("the manifests have nothing that a value can replace: %q", p.manifest)
		}
	}
	made[valuesFile], err = values()
	return made, err
}

// joinOverlays returns the objects of both overlays, as text in which the value of certificates decides where they
// differ, and their kinds. What Helm itself makes, the Namespace, is left out.
func joinOverlays() (joined, kinds []string, err error) {
	names := map[string]int{}
	var texts [][2]string
	for i, overlay := range overlays() {
		built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(overlaysFolder, overlay))
		if err != nil {
			return nil, nil, err
		}
		for _, object := range built.Resources() {
			text, err := object.AsYAML()
			if err != nil {
				return nil, nil, err
			}
			id := object.CurId().String()
			if object.GetKind() == "Namespace" {
				continue
			}
			if _, known := names[id]; !known {
				names[id] = len(texts)
				texts, kinds = append(texts, [2]string{}), append(kinds, object.GetKind())
			}
			texts[names[id]][i] = string(text)
		}
	}
	for _, text := range texts {
		joined = append(joined, join(text[0], text[1]))
	}
	return joined, kinds, nil
}

// join returns the lines of two texts; those that only one of them has are under a condition.
func join(first, second string) string {
	var b strings.Builder
	at := 0
	for _, edit := range udiff.Lines(first, second) {
		b.WriteString(first[at:edit.Start])
		at = edit.End
		switch removed := first[edit.Start:edit.End]; {
		case removed == "":
			fmt.Fprintf(&b, "{{- if eq .Values.certificates %q }}\n%s{{- end }}\n", overlays()[1], edit.New)
		case edit.New == "":
			fmt.Fprintf(&b, "{{- if eq .Values.certificates %q }}\n%s{{- end }}\n", overlays()[0], removed)
		default:
			fmt.Fprintf(&b, "{{- if eq .Values.certificates %q }}\n%s{{- else }}\n%s{{- end }}\n", overlays()[0], removed, edit.New)
		}
	}
	return b.String() + first[at:]
}

// handwritten reports whether a template is not made here.
func handwritten(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && !bytes.HasPrefix(text, []byte(templateHeader))
}
