package e2e_test

import (
	"fmt"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// half is one of two objects that let traffic out together.
type half struct {
	// of is its resource, name and namespace.
	of string
	// object lets traffic out beside the other half, and harmless is what it was before.
	object, harmless string
}

// pairs are evasions of the rules that relate two objects: each half comes second, in every way in which an object can
// be written.
func pairs() map[string]evasion {
	hides := sidecar(`egress: [{hosts: ["./*"]}]`)
	proxies := sidecar(`outboundTrafficPolicy: {mode: ALLOW_ANY, egressProxy: {host: proxy.example.com, port: {number: 443}}}`)
	listens := sidecar(`egress: [{port: {number: 9080, protocol: TCP, name: tcp}, hosts: ["./*"]}, {hosts: ["*/*"]}]`)
	opens := outside("db.example.com", 9080, "TCP")
	covers := outside("*.HOME", 9080, "HTTP")
	private := half{"service reviews -n HOME", annotated("networking.istio.io/exportTo"), annotated("example.com/exportTo")}
	all := map[string]evasion{}
	for name, pair := range map[string]struct {
		rule   string
		halves [2]half
	}{
		"hidden and taken by a listener":  {"serviceentry-takes-hidden-host", [2]half{hides, opens}},
		"private and taken by a listener": {"serviceentry-takes-hidden-host", [2]half{private, opens}},
		"hidden and covered":              {"wildcard-takes-hidden-host", [2]half{hides, covers}},
		"private and covered":             {"wildcard-takes-hidden-host", [2]half{private, covers}},
		"private and sent to a proxy":     {"sidecar-egress-proxy-takes-hidden-host", [2]half{private, proxies}},
		"a listener of the client's own":  {"sidecar-port-takes-host", [2]half{listens, opens}},
	} {
		for i, second := range pair.halves {
			first := pair.halves[1-i].write("apply -f -")
			resource, _, _ := strings.Cut(second.of, " ")
			for way, steps := range second.ways() {
				all[fmt.Sprintf("%s, the %s second, %s", name, resource, way)] = evasion{pair.rule, slices.Concat([]attempt{first}, steps)}
			}
		}
	}
	return all
}

// ways are those in which an object can be written. The last step of each does it. Only make e2e goes them all.
func (h half) ways() map[string][]attempt {
	all := map[string][]attempt{"apply": {h.write("apply --server-side --force-conflicts -f -")}}
	if !*full {
		return all
	}
	before := h.write("apply -f -")
	before.stdin = h.harmless
	merge, err := yaml.YAMLToJSON([]byte(h.object))
	if err != nil {
		panic(err) // one of the literals here
	}
	all["update"] = []attempt{before, h.write("replace -f -")}
	all["patch"] = []attempt{before, {args: "patch " + h.of + " --type=merge -p " + string(merge)}}
	const version = "networking.istio.io/v1,"
	if strings.Contains(h.object, version) {
		for _, other := range []string{"v1", "v1beta1", "v1alpha3"} {
			all["create as "+other] = []attempt{{strings.Replace(h.object, version, "networking.istio.io/"+other+",", 1), "create -f -"}}
		}
	}
	return all
}

// write is a command that writes the object, in its namespace.
func (h half) write(args string) attempt {
	_, namespace, _ := strings.Cut(h.of, " -n ")
	return attempt{h.object, args + " -n " + namespace}
}

// sidecar is one for all workloads of the client.
func sidecar(spec string) half {
	const object = "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: default, namespace: CLIENT}, spec: {%s}}"
	return half{"sidecar default -n CLIENT", fmt.Sprintf(object, spec), fmt.Sprintf(object, `egress: [{hosts: ["*/*"]}]`)}
}

// outside is a ServiceEntry for something outside of the mesh.
func outside(host string, port int, protocol string) half {
	const object = `{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: outside, namespace: CLIENT}, spec: {exportTo: ["."], hosts: [%q], ` +
		`resolution: STATIC, ports: [{number: %d, name: a, protocol: %s}], endpoints: [{address: 192.0.2.7}]}}`
	return half{"serviceentry outside -n CLIENT", fmt.Sprintf(object, host, port, protocol), fmt.Sprintf(object, "www.example.com", 5432, "TCP")}
}

// annotated is the strict Service with one annotation more.
func annotated(key string) string {
	return `{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: HOME, annotations: {` + key + `: "."}}, ` +
		`spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}}`
}

// statuses are evasions by subresources, and by the names of companions.
func statuses() map[string]evasion {
	const merge = " --subresource=status --type=merge --as=alice --as-group=system:masters -p "
	const network = `{"metadata":{"labels":{"topology.istio.io/network":"%s"}}}`
	const gateway = `{apiVersion: v1, kind: Service, metadata: {name: gateway, labels: {%s}}, spec: {%s, selector: {app: gateway}, ports: [{name: tls, port: 15443}]}}`
	const misspelt = `{"metadata":{"%s":{"meshfence.io/fence":"stirct"}}}`
	const reserved = "companion-name-reserved"
	// What goes in raw is not made JSON by kubectl.
	const binding = `{"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a", "namespace": "HOME", "labels": {%q: %q}}, "target": {"kind": "Node", "name": "none"}}`
	all := map[string]evasion{
		"a Pod's status": {"pod-foreign-network", []attempt{
			{"{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: reviews}}, spec: {containers: [{name: a, image: none}]}}", "create -n HOME -f -"},
			{args: "patch pod a -n HOME" + merge + fmt.Sprintf(network, "elsewhere")},
		}},
		"a Pod's Binding": {"pod-foreign-network", []attempt{
			{"{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {app: reviews}}, spec: {containers: [{name: a, image: none}]}}", "create -n HOME -f -"},
			{fmt.Sprintf(binding, "topology.istio.io/network", "elsewhere"), "create --raw /api/v1/namespaces/HOME/pods/a/binding -f -"},
		}},
		"a Binding that joins a Pod": {"pod-foreign-network", []attempt{
			{"{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {topology.istio.io/network: elsewhere}}, spec: {containers: [{name: a, image: none}]}}", "create -n HOME -f -"},
			{fmt.Sprintf(binding, "app", "reviews"), "create --raw /api/v1/namespaces/HOME/bindings -f -"},
		}},
		"a Service's status": {"service-network-gateway", []attempt{
			{fmt.Sprintf(gateway, "topology.istio.io/network: own", "type: LoadBalancer"), "create -f -"},
			{args: "patch service gateway" + merge + `{"status":{"loadBalancer":{"ingress":[{"ip":"192.0.2.7"}]}}}`},
		}},
		"labels in a Service's status": {"service-network-gateway", []attempt{
			{fmt.Sprintf(gateway, "", "externalIPs: [192.0.2.7]"), "create -f -"},
			{args: "patch service gateway" + merge + fmt.Sprintf(network, "own")},
		}},
		"annotations in a Service's status": once("service-invalid-fence", "", "patch service reviews -n HOME"+merge+fmt.Sprintf(misspelt, "annotations")),
		"labels in a Namespace's status":    once("service-invalid-fence", "", "patch namespace HOME"+merge+fmt.Sprintf(misspelt, "labels")),
		"a Namespace's finalizers": once("service-invalid-fence", `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "HOME", "labels": {"meshfence.io/fence": "stirct"}}, "spec": {"finalizers": ["kubernetes"]}}`,
			"replace --raw /api/v1/namespaces/HOME/finalize -f -"),
		"a companion's name":   once(reserved, fmt.Sprintf(rule, "v1", "new-meshfence", "HOME", "new"), "create -n HOME -f -"),
		"a companion's label":  once(reserved, "", "label destinationrule reviews-meshfence -n HOME app.kubernetes.io/managed-by-"),
		"a companion's host":   once(reserved, "", `patch destinationrule reviews-meshfence -n HOME --type=merge -p {"spec":{"host":"a.example.com"}}`),
		"a companion replaced": once(reserved, fmt.Sprintf(rule, "v1", "reviews-meshfence", "HOME", "reviews"), "replace -n HOME -f -"),
	}
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		taken := fmt.Sprintf(`{apiVersion: networking.istio.io/%s, kind: ServiceEntry, metadata: {name: a}, spec: {hosts: [a.example.com], `+
			`resolution: STATIC, ports: [{number: 9080, name: tcp, protocol: TCP}], endpoints: [{address: 192.0.2.7}]}}`, version)
		all["a ServiceEntry's status, "+version] = evasion{"serviceentry-service-ip", []attempt{
			{taken, "create -f -"},
			{args: "patch serviceentries." + version + ".networking.istio.io a" + merge + `{"status":{"addresses":[{"value":"ADDRESS"}]}}`},
		}}
	}
	return all
}
