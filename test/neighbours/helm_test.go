package neighbours_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	helm3 "helm.sh/helm/v3/pkg/action"
	chart3 "helm.sh/helm/v3/pkg/chart"
	helm4 "helm.sh/helm/v4/pkg/action"
	common4 "helm.sh/helm/v4/pkg/chart/common"
	chart4 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/kube"
	"k8s.io/cli-runtime/pkg/genericclioptions"
)

// shopChart is the template of a chart with everything that admission changes.
const shopChart = `apiVersion: v1
kind: Service
metadata: {name: reviews, annotations: {meshfence.io/fence: strict}}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {connectionPool: {tcp: {maxConnections: {{ .Values.connections }}}}}
  subsets: [{name: v1, labels: {version: v1}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - timeout: {{ .Values.connections }}s
    route: [{destination: {host: reviews}}]
`

// istiodChart is the part of Istio's own chart that meshfence writes into.
const istiodChart = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system, labels: {istio.io/rev: default}}
data:
  meshNetworks: "networks: {}"
  mesh: |
    # The trust domain corresponds to the trust root of a system.
    trustDomain: "cluster.local"
    accessLogFile: {{ .Values.log }}
    defaultConfig:
      discoveryAddress: istiod.istio-system.svc:15012
`

func helmRows() []row {
	return []row{
		{"Helm 3, upgrade and rollback", helm3Release, always("upgraded, rolled back")},
		{"Helm 4, upgrade and rollback", helm4Release, always("upgraded, rolled back")},
		{"Helm 4, upgrade of istiod", helm4Istiod, always("upgraded")},
	}
}

func (b *bed) helmFlags(namespace string) *genericclioptions.ConfigFlags {
	flags := genericclioptions.NewConfigFlags(true)
	flags.KubeConfig, flags.Namespace = &b.Kubeconfig, &namespace
	return flags
}

// released says how many connections the stored objects allow, and fails where they are not as admission would have them.
func (b *bed) released(t *testing.T, namespace string) string {
	t.Helper()
	set := objects(t, namespace, strings.ReplaceAll(shopChart, "{{ .Values.connections }}", "1"))
	b.settled(t, set)
	var route string
	for _, o := range set {
		if o.GetKind() == "VirtualService" {
			route = asJSON(t, b.live(t, o).Object["spec"])
		}
	}
	_, timeout, _ := strings.Cut(route, `"timeout":"`)
	timeout, _, _ = strings.Cut(timeout, `"`)
	return timeout
}

// lifecycle installs, upgrades and rolls a release back, and says how far it got.
func (b *bed) lifecycle(t *testing.T, namespace string, install, upgrade func(connections int) error, rollback func() error) string {
	t.Helper()
	if err := install(1); err != nil {
		return "install: " + err.Error()
	}
	if got := b.released(t, namespace); got != "1s" {
		return "installed with a timeout of " + got
	}
	if err := upgrade(2); err != nil {
		return "upgrade: " + err.Error()
	}
	if got := b.released(t, namespace); got != "2s" {
		return "upgraded to a timeout of " + got
	}
	if err := rollback(); err != nil {
		return "rollback: " + err.Error()
	}
	if got := b.released(t, namespace); got != "1s" {
		return "rolled back to a timeout of " + got
	}
	return "upgraded, rolled back"
}

func values(key string, value any) map[string]any { return map[string]any{key: value} }

func helm3Release(t *testing.T, b *bed) string {
	namespace := b.CreateNamespace(t, nil)
	var config helm3.Configuration
	if err := config.Init(b.helmFlags(namespace), namespace, "secret", func(string, ...any) {}); err != nil {
		t.Fatal(err)
	}
	shop := &chart3.Chart{
		Metadata:  &chart3.Metadata{APIVersion: chart3.APIVersionV2, Name: "shop", Version: "1.0.0"},
		Templates: []*chart3.File{{Name: "templates/shop.yaml", Data: []byte(shopChart)}},
	}
	return b.lifecycle(t, namespace, func(connections int) error {
		action := helm3.NewInstall(&config)
		action.ReleaseName, action.Namespace = "shop", namespace
		_, err := action.Run(shop, values("connections", connections))
		return err
	}, func(connections int) error {
		action := helm3.NewUpgrade(&config)
		action.Namespace = namespace
		_, err := action.Run("shop", shop, values("connections", connections))
		return err
	}, func() error { return helm3.NewRollback(&config).Run("shop") })
}

func (b *bed) helm4(namespace string) (*helm4.Configuration, error) {
	config := helm4.NewConfiguration()
	return config, config.Init(b.helmFlags(namespace), namespace, "secret")
}

func chartOf(name, template string) *chart4.Chart {
	return &chart4.Chart{
		Metadata:  &chart4.Metadata{APIVersion: chart4.APIVersionV2, Name: name, Version: "1.0.0"},
		Templates: []*common4.File{{Name: "templates/all.yaml", Data: []byte(template)}},
	}
}

func helm4Release(t *testing.T, b *bed) string {
	namespace := b.CreateNamespace(t, nil)
	config, err := b.helm4(namespace)
	if err != nil {
		t.Fatal(err)
	}
	shop := chartOf("shop", shopChart)
	return b.lifecycle(t, namespace, func(connections int) error {
		return installHelm4(t.Context(), config, shop, namespace, values("connections", connections))
	}, func(connections int) error {
		return upgradeHelm4(t.Context(), config, shop, namespace, values("connections", connections))
	}, func() error {
		action := helm4.NewRollback(config)
		action.WaitStrategy = kube.HookOnlyStrategy
		return action.Run("shop")
	})
}

func installHelm4(ctx context.Context, config *helm4.Configuration, c *chart4.Chart, namespace string, values map[string]any) error {
	action := helm4.NewInstall(config)
	action.ReleaseName, action.Namespace, action.WaitStrategy = c.Metadata.Name, namespace, kube.HookOnlyStrategy
	_, err := action.RunWithContext(ctx, c, values)
	return err
}

func upgradeHelm4(ctx context.Context, config *helm4.Configuration, c *chart4.Chart, namespace string, values map[string]any) error {
	action := helm4.NewUpgrade(config)
	action.Namespace, action.WaitStrategy = namespace, kube.HookOnlyStrategy
	_, err := action.RunWithContext(ctx, c.Metadata.Name, c, values)
	return err
}

// installIstiod installs what stands for Istio's chart.
func (b *bed) installIstiod(ctx context.Context, log string) error {
	config, err := b.helm4("istio-system")
	if err != nil {
		return err
	}
	return installHelm4(ctx, config, chartOf("istiod", istiodChart), "istio-system", values("log", log))
}

// helm4Istiod upgrades istiod after the controller has told the mesh config of one more strict Service.
func helm4Istiod(t *testing.T, b *bed) string {
	namespace := b.strictNamespace(t)
	if err := b.Apply(t.Context(), `{apiVersion: v1, kind: Service, metadata: {name: reviews}, spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}}`, "-n", namespace); err != nil {
		t.Fatal(err)
	}
	told := func(context.Context) error {
		text, err := b.MeshConfig(t.Context())
		if err != nil {
			return err
		}
		if held := strings.Contains(b.holds, "meshConfig"); strings.Contains(text, "*."+namespace+".svc") != held {
			return fmt.Errorf("the mesh config under %s:\n%s", b.holds, text)
		}
		return nil
	}
	eventually(t, "the mesh config follows the scope", told)
	config, err := b.helm4("istio-system")
	if err != nil {
		t.Fatal(err)
	}
	log := "/dev/" + namespace
	if err := upgradeHelm4(t.Context(), config, chartOf("istiod", istiodChart), "istio-system", values("log", log)); err != nil {
		return err.Error()
	}
	eventually(t, "the mesh config follows the scope after the upgrade", told)
	if text, err := b.MeshConfig(t.Context()); err != nil || !strings.Contains(text, log) {
		return fmt.Sprintf("not upgraded: %v\n%s", err, text)
	}
	return "upgraded"
}
