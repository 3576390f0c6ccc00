package testbed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// applyManifests applies those of the overlay, as they are unless the installation is beside another one.
func (m *Meshfence) applyManifests(ctx context.Context, o Installation) error {
	root, err := checkout()
	if err != nil {
		return err
	}
	overlay := filepath.Join(root, "manifests", "overlays", o.Overlay)
	if o.Namespace == "" {
		_, _, err := m.cluster.Kubectl(ctx, "", "apply", "-k", overlay)
		return err
	}
	manifests, err := m.inNamespace(ctx, root, overlay)
	if err != nil {
		return err
	}
	var beside []string
	for document := range strings.SplitSeq(manifests, "\n---\n") {
		switch {
		case strings.Contains(document, "\nkind: MutatingWebhookConfiguration\n"), strings.Contains(document, "\nkind: ValidatingWebhookConfiguration\n"):
			m.webhooks = append(m.webhooks, document)
		case strings.Contains(document, "\nkind: ClusterRoleBinding\n"):
			// Only that it has the name of the other's would take the rights from the other.
			beside = append(beside, strings.Replace(document, "\n  name: "+installName+"\n", "\n  name: "+m.namespace+"\n", 1))
		default:
			beside = append(beside, document)
		}
	}
	return m.cluster.Apply(ctx, strings.Join(beside, "\n---\n"))
}

// inNamespace returns the manifests of an overlay for the namespace of the installation, as users have them made.
func (m *Meshfence) inNamespace(ctx context.Context, root, overlay string) (string, error) {
	dir, err := StateDir(m.namespace)
	if err != nil {
		return "", err
	}
	overlay, err = filepath.Rel(dir, overlay)
	if err != nil {
		return "", err
	}
	transformer, err := filepath.Rel(dir, filepath.Join(root, "manifests", "components", "own-namespace"))
	if err != nil {
		return "", err
	}
	kustomization := fmt.Sprintf("namespace: %s\nresources: [%s]\ntransformers: [%s]\n", m.namespace, overlay, transformer)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(kustomization), 0o600); err != nil {
		return "", err
	}
	manifests, _, err := m.cluster.Kubectl(ctx, "", "kustomize", dir)
	return manifests, err
}

// TakeOver applies the webhook configurations of an installation that is beside another one, so that the API server
// calls it and not the other.
func (m *Meshfence) TakeOver(ctx context.Context) error {
	return m.cluster.Apply(ctx, strings.Join(m.webhooks, "\n---\n"))
}

// firstHost is the test host of the first replica.
func (m *Meshfence) firstHost() int {
	if m.namespace != installNamespace {
		return 251<<8 + 1
	}
	return 250<<8 + 1
}
