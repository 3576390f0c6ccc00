package faults_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"
)

const (
	// loadLabel is on what the writers make.
	loadLabel = "faults"
	// writeWithin bounds one write: the webhooks that it passes may each take the five seconds of their timeout.
	writeWithin = 30 * time.Second
)

var (
	services         = schema.GroupVersionResource{Version: "v1", Resource: "services"}
	configMaps       = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	endpointSlices   = schema.GroupVersionResource{Group: "discovery.k8s.io", Version: "v1", Resource: "endpointslices"}
	destinationRules = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "destinationrules"}
	virtualServices  = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}
	serviceEntries   = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "serviceentries"}
)

// write is one that is tried again and again.
type write struct {
	// name says what is written.
	name     string
	resource schema.GroupVersionResource
	// manifest is created under a new name, or, where there is none, the object in touches is written to.
	namespace, manifest, touches string
	dry                          bool
	// closed tells that the webhook fails closed for it.
	closed bool
	// rule is the one that refuses it; none refuses what is ordinary.
	rule string
}

// writes are what goes on all the time, in the terms of docs/design.md, "When meshfence is down".
func writes() []write {
	return []write{
		{name: "Service of no fence", resource: services, namespace: "open", touches: "plain"},
		{name: "ConfigMap", resource: configMaps, namespace: "shop", manifest: "{apiVersion: v1, kind: ConfigMap}"},
		{name: "Service in a strict namespace", resource: services, namespace: "shop", touches: "reviews", closed: true},
		{name: "DestinationRule of a strict host", resource: destinationRules, namespace: "shop", touches: "ratings", closed: true},
		{
			name: "DestinationRule of an unfenced host", resource: destinationRules, namespace: "open", closed: true,
			manifest: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, spec: {host: plain, subsets: [{name: v1, labels: {version: v1}}]}}",
		},
		{name: "VirtualService of an unfenced host", resource: virtualServices, namespace: "open", manifest: route("plain", "plain"), closed: true},
		{name: "VirtualService, dry", resource: virtualServices, namespace: "open", manifest: route("plain", "plain"), closed: true, dry: true},

		{
			name: "route to an unfenced host", resource: virtualServices, namespace: "shop", closed: true,
			manifest: route("reviews", "plain.open.svc.cluster.local"), rule: "virtualservice-foreign-host",
		},
		{
			name: "PASSTHROUGH", resource: destinationRules, namespace: "shop", closed: true, rule: "destinationrule-passthrough",
			manifest: "{apiVersion: networking.istio.io/v1, kind: DestinationRule, spec: {host: reviews, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}}",
		},
		{name: "ServiceEntry of a strict host", resource: serviceEntries, namespace: "open", manifest: entry, closed: true, rule: "serviceentry-fenced-host"},
		{name: "ServiceEntry, dry", resource: serviceEntries, namespace: "open", manifest: entry, closed: true, dry: true, rule: "serviceentry-fenced-host"},
		{
			name: "strict ExternalName", resource: services, namespace: "open", rule: "service-external-name",
			manifest: "{apiVersion: v1, kind: Service, metadata: {annotations: {meshfence.io/fence: strict}}, spec: {type: ExternalName, externalName: plain.open.svc.cluster.local}}",
		},
		{
			name: "EndpointSlice by hand", resource: endpointSlices, namespace: "shop", rule: "endpointslice-foreign-writer",
			manifest: "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {labels: {kubernetes.io/service-name: reviews}}, " +
				"addressType: IPv4, endpoints: [{addresses: [192.0.2.1]}], ports: [{name: http, port: 9080}]}",
		},
	}
}

const entry = "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, spec: {hosts: [reviews.shop.svc.cluster.local], " +
	"ports: [{number: 9080, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 192.0.2.1}]}}"

func route(from, to string) string {
	return fmt.Sprintf("{apiVersion: networking.istio.io/v1, kind: VirtualService, spec: {hosts: [%s], http: [{route: [{destination: {host: %s}}]}]}}", from, to)
}

// outcome is what became of a write.
type outcome int

const (
	accepted   outcome = iota
	refused            // by the rule that it breaks
	uncalled           // because the API server got no answer of the webhook
	unanswered         // by the API server
	misjudged          // for a reason that is none
)

// try writes once. It returns what it made.
func (w write) try(ctx context.Context, b *bed) (outcome, *unstructured.Unstructured, error) {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	var made *unstructured.Unstructured
	var err error
	api := b.objects.Resource(w.resource).Namespace(w.namespace)
	if w.touches != "" {
		patch := fmt.Sprintf(`{"metadata": {"annotations": {"touched": "%d"}}}`, time.Now().UnixNano())
		_, err = api.Patch(ctx, w.touches, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	} else {
		var object *unstructured.Unstructured
		if object, err = parse(w.manifest); err != nil {
			return misjudged, nil, err
		}
		object.SetGenerateName("load-")
		labels := object.GetLabels()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[loadLabel] = "load"
		object.SetLabels(labels)
		options := metav1.CreateOptions{}
		if w.dry {
			options.DryRun = []string{metav1.DryRunAll}
		}
		made, err = api.Create(ctx, object, options)
	}
	switch {
	case err == nil:
		return accepted, made, nil
	case strings.Contains(err.Error(), "failed calling webhook"):
		return uncalled, nil, err
	case w.rule != "" && strings.Contains(err.Error(), w.rule):
		return refused, nil, err
	case strings.Contains(err.Error(), "not yet ready to handle request"), // an API server that starts
		strings.Contains(err.Error(), "custom resource definition is terminating"):
		return unanswered, nil, err
	case apierrors.IsInvalid(err), apierrors.IsForbidden(err), apierrors.IsBadRequest(err):
		return misjudged, nil, err
	default:
		return unanswered, nil, err
	}
}

// right reports whether the outcome is the one that it has while nothing is wrong.
func (w write) right(o outcome) bool {
	if w.rule != "" {
		return o == refused
	}
	return o == accepted
}

func parse(manifest string) (*unstructured.Unstructured, error) {
	var object unstructured.Unstructured
	return &object, yaml.Unmarshal([]byte(manifest), &object.Object)
}
