package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/meshfence/meshfence/manifests"
)

const (
	templatesFolder = "charts/meshfence/templates"
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
		// What the component metrics-auth patches.
		{"        env:\n", withMetricsAuth("        - --metrics-auth\n") + "        env:\n"},
		{"  - name: http-metrics\n", "  - name: {{ if .Values.metricsAuth }}https{{ else }}http{{ end }}-metrics\n"},
		{"kind: PodMonitor\nmetadata:\n", "kind: PodMonitor\nmetadata:\n" + withMetricsAuth("  annotations:\n    meshfence.io/metrics-auth: \"true\"\n")},
		{"  - interval: 30s\n    port: metrics\n", "  - interval: 30s\n    port: metrics\n" + withMetricsAuth(securedEndpoint)},
		// What the component client-ca patches.
		{"        env:\n", under(".Values.clientCA", "        - --client-ca-file=/etc/meshfence/client-ca/ca.crt\n") + "        env:\n"},
		{certManagerOnly(tlsMount), withClientCA("        volumeMounts:\n", tlsMount, "        - mountPath: /etc/meshfence/client-ca\n          name: client-ca\n          readOnly: true\n")},
		{certManagerOnly(tlsVolume), withClientCA("      volumes:\n", tlsVolume, "      - configMap:\n          name: meshfence-client-ca\n        name: client-ca\n")},
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
		// What the component istio-namespace patches, and in whose namespace its objects are.
		{meshConfigRule + "- apiGroups:\n  - events.k8s.io\n", under("not .Values.istioNamespace", meshConfigRule) + "- apiGroups:\n  - events.k8s.io\n"},
		{"  namespace: istio-system\n", "  namespace: {{ dig \"controlPlane\" \"istioNamespace\" \"\" .Values.fenceConfig | default \"istio-system\" }}\n"},
		// Without names the rule would be for every ConfigMap.
		{"  resourceNames:\n  - istio\n", "  resourceNames:\n" +
			"  {{- dig \"controlPlane\" \"meshConfigMaps\" (list) .Values.fenceConfig | default (list \"istio\") | toYaml | nindent 2 }}\n"},
		{ownNamespace, "{{ .Release.Namespace }}"},
	}
}

// meshConfigRule is the right to the mesh ConfigMaps, in the ClusterRole or in the Role of the component istio-namespace.
const meshConfigRule = `- apiGroups:
  - ""
  resourceNames:
  - istio
  resources:
  - configmaps
  verbs:
  - get
  - list
  - watch
  - patch
`

// securedEndpoint is what an endpoint of the PodMonitor has more where its metrics are not for everybody.
const securedEndpoint = `    scheme: https
    tlsConfig:
      ca:
        secret:
          name: meshfence-ca
          key: tls.crt
      serverName: meshfence.meshfence-system.svc
    authorization:
      credentials:
        name: meshfence-metrics-reader
        key: token
`

// withMetricsAuth puts lines under the value metricsAuth.
func withMetricsAuth(lines string) string { return under(".Values.metricsAuth", lines) }

// tlsMount and tlsVolume are how a certificate of cert-manager comes into a Pod.
const (
	tlsMount  = "        volumeMounts:\n        - mountPath: /etc/meshfence/tls\n          name: tls\n          readOnly: true\n"
	tlsVolume = "      volumes:\n      - name: tls\n        secret:\n          secretName: meshfence-tls\n"
)

// certManagerOnly puts lines under the value certificates, as join does.
func certManagerOnly(lines string) string {
	return under(fmt.Sprintf("eq .Values.certificates %q", overlays()[1]), lines)
}

// withClientCA returns a list of which one part is for cert-manager, and another one for the value clientCA.
func withClientCA(head, forCertManager, forClients string) string {
	parts := head + certManagerOnly(strings.TrimPrefix(forCertManager, head)) + under(".Values.clientCA", forClients)
	return under(fmt.Sprintf("or .Values.clientCA (eq .Values.certificates %q)", overlays()[1]), parts)
}

// condition says when an object is made, where that is not always.
func condition(kind string) string {
	if kind == "PodDisruptionBudget" {
		return "and .Values.podDisruptionBudget (gt (int .Values.replicas) 1)"
	}
	return ""
}

// component is a folder of objects that are made where its condition holds.
type component struct{ folder, condition string }

func components() []component {
	return []component{
		{"network-policy", ".Values.networkPolicy"},
		{"monitoring", ".Values.monitoring"},
		{"metrics-auth", ".Values.metricsAuth"},
		{"istio-namespace", ".Values.istioNamespace"},
		// With cert-manager meshfence writes no webhook configuration.
		{"pinned-webhooks", fmt.Sprintf("and .Values.pinnedWebhooks (eq .Values.certificates %q)", overlays()[0])},
	}
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
	templates, err := joinOverlays()
	if err != nil {
		return nil, err
	}
	for _, c := range components() {
		objects, err := build("components", c.folder)
		if err != nil {
			return nil, err
		}
		for _, o := range objects {
			templates = append(templates, object{o.id, o.kind, under(c.condition, o.text)})
		}
	}
	made := pages{}
	for _, t := range templates {
		path := filepath.Join(templatesFolder, strings.ToLower(t.kind)+".yaml")
		if made[path] == nil {
			made[path] = []byte(templateHeader)
		}
		made[path] = append(made[path], "---\n"+t.text...)
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

// object is one of the manifests, as text that is no template of its own.
type object struct{ id, kind, text string }

// build returns the objects of a kustomization of overlays or components, but for what Helm itself makes, the Namespace.
func build(of, folder string) ([]object, error) {
	files := filesys.MakeFsInMemory()
	if err := copyManifests(files); err != nil {
		return nil, err
	}
	field := map[string]string{"overlays": "resources", "components": "components"}[of]
	if err := files.WriteFile("kustomization.yaml", fmt.Appendf(nil, "%s: [%s/%s]\n", field, of, folder)); err != nil {
		return nil, err
	}
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, ".")
	if err != nil {
		return nil, err
	}
	var out []object
	for _, resource := range built.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			return nil, err
		}
		if resource.GetKind() != "Namespace" {
			out = append(out, object{resource.CurId().String(), resource.GetKind(), strings.ReplaceAll(string(text), "{{", "{{ `{{` }}")})
		}
	}
	return out, nil
}

// copyManifests copies the manifests, since kustomize builds no component that no kustomization names.
func copyManifests(files filesys.FileSystem) error {
	return fs.WalkDir(manifests.Files(), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(manifests.Files(), path)
		if err != nil {
			return err
		}
		return files.WriteFile(path, content)
	})
}

// joinOverlays returns the objects of both overlays; the value of certificates decides where they differ.
func joinOverlays() ([]object, error) {
	first, err := build("overlays", overlays()[0])
	if err != nil {
		return nil, err
	}
	second, err := build("overlays", overlays()[1])
	if err != nil {
		return nil, err
	}
	others := map[string]string{}
	for _, o := range second {
		others[o.id] = o.text
	}
	var out []object
	for _, o := range first {
		out = append(out, object{o.id, o.kind, under(condition(o.kind), join(o.text, others[o.id]))})
		delete(others, o.id)
	}
	for _, o := range second {
		if text, ok := others[o.id]; ok {
			out = append(out, object{o.id, o.kind, join("", text)})
		}
	}
	return out, nil
}

// under puts a text under a condition, if there is one.
func under(condition, text string) string {
	if condition == "" {
		return text
	}
	return fmt.Sprintf("{{- if %s }}\n%s{{- end }}\n", condition, text)
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
			b.WriteString(certManagerOnly(edit.New))
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
