package main

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/meshfence/meshfence/policy/suite"
)

// casesFolder has a file of cases for each rule.
const casesFolder = "policy/leak/testdata"

// shown returns the title of the case that the page of a rule shows, where that is not the first one that the rule finds.
func shown() map[string]string {
	return map[string]string{
		"backendpolicy-drops-locality":           "A policy for one port of a strict Service takes the distribute away.",
		"companion-name-reserved":                "A user takes the reserved name for a DestinationRule.",
		"companion-removed":                      "An administrator deletes a companion that has the distribute.",
		"destinationrule-export":                 "A private rule takes the place of the companion.",
		"destinationrule-foreign-subset":         "A subset of another cluster is found under the short name of the host.",
		"destinationrule-locality-override":      "A rule in the root namespace disables the distribute.",
		"destinationrule-passthrough":            "A rule in the namespace of clients lets them go to any address.",
		"destinationrule-prefer-idle":            "A distribute counts before the preference.",
		"destinationrule-unfenced":               "A rule without the fence cannot be fixed while no localities are known.",
		"destinationrule-wildcard-mixed":         "A wildcard of clients covers a strict Service and one without a fence.",
		"endpointslice-foreign-writer":           "A user adds endpoints to a strict Service.",
		"envoyfilter-in-fenced-namespace":        "A patch changes a route.",
		"gateway-exposes-fenced-host":            "An east-west gateway exposes every Service of the mesh.",
		"gateway-on-strict-destination":          "A Gateway chooses the very Pods that requests for a strict host go to.",
		"injection-taken-out":                    "The annotation that was taken out of a Service is put in again.",
		"meshconfig-cluster-local-removed":       "A later entry takes the host out again.",
		"namespace-fence-loosened":               "A Namespace drops the label that locks it.",
		"namespace-loosened-destination":         "A Namespace loosens a fence that a route of a strict host needs.",
		"network-of-tls-hides-host":              "A network of TLS hides a strict Service while a Sidecar has an egress proxy.",
		"pod-foreign-cluster":                    "The proxy container is told another cluster.",
		"pod-locality":                           "A Pod of a strict Service says the region of another cluster.",
		"route-bypasses-subset":                  "An HTTPRoute leads to a strict Service.",
		"route-foreign-backend":                  "A route takes over a strict Service and leads to one without a fence.",
		"route-without-endpoint":                 "A route leads to a subset of another cluster, where no endpoint is left.",
		"service-deleted":                        "A strict Service is deleted.",
		"service-foreign-mesh-annotation":        "Cilium joins a strict Service with those of other clusters.",
		"service-network-gateway":                "A gateway of this network has external addresses.",
		"serviceentry-fenced-host":               "A ServiceEntry takes the host of a strict Service.",
		"serviceentry-foreign-network":           "An endpoint of another network serves a strict host.",
		"serviceentry-selects-fenced-pods":       "A selector with the labels of a strict Service chooses its Pods.",
		"serviceentry-service-ip":                "An address is the ClusterIP of a strict Service.",
		"serviceentry-takes-hidden-host":         "A ServiceEntry listens on the port of a host that its clients do not know.",
		"serviceentry-takes-http-port":           "A ServiceEntry of TCP takes the port of a host for HTTP.",
		"sidecar-bind-takes-service-ip":          "A listener for another host is bound to the ClusterIP of a strict Service.",
		"sidecar-egress-proxy":                   "An egress proxy is a strict host without a subset.",
		"sidecar-egress-proxy-takes-hidden-host": "A Sidecar imports another host alone and has an egress proxy.",
		"sidecar-on-strict-destination":          "An ingress listener leads to an egress listener on loopback.",
		"sidecar-port-takes-host":                "A listener of TCP for a ServiceEntry hides a host on its port.",
		"virtualservice-foreign-host":            "A route leads from a strict host to one without a fence.",
		"virtualservice-foreign-subset":          "A route names the reserved subset of another cluster.",
		"virtualservice-mirror":                  "A copy of the requests goes to a Service without a fence.",
		"virtualservice-opens-entry":             "A route sends the connections of a ServiceEntry outside the mesh.",
		"virtualservice-redirect":                "Clients are redirected to a Service without a fence.",
		"virtualservice-shadows-fence":           "A route of tcp for one port is completed for the others.",
		"virtualservice-source-labels":           "Labels of clients are beside gateways.",
		"wildcard-takes-hidden-host":             "A Sidecar hides a host whose short names are covered.",
		"wildcard-takes-short-name":              "A wildcard of TLS covers the short name of a strict host.",
		"workloadentry-joins-fenced-service":     "A WorkloadEntry with a locality joins a strict Service.",
	}
}

// examples returns the case that the page of each rule shows.
func examples() (map[string]suite.Case, error) {
	cases, err := suite.Load(os.DirFS(casesFolder))
	if err != nil {
		return nil, err
	}
	chosen, titles := map[string]suite.Case{}, shown()
	for _, c := range cases {
		rule := strings.TrimSuffix(c.File, suite.Extension)
		title, named := titles[rule]
		found := !named && c.Expect.Outcome != suite.Passes && c.Expect.Outcome != ""
		if _, ok := chosen[rule]; !ok && (found || c.Title == title) {
			chosen[rule] = c
		}
	}
	for rule, title := range titles {
		if _, ok := chosen[rule]; !ok {
			return nil, fmt.Errorf("%s/%s%s has no case %q for the page of the rule", casesFolder, rule, suite.Extension, title)
		}
	}
	return chosen, nil
}

// writeExample writes a case: the object, what meshfence says, and the scene.
func writeExample(b *bytes.Buffer, c suite.Case) error {
	fmt.Fprintf(b, "\n## An example that is %s\n\n%s ([%s](../../%s/%s))\n", c.Expect.Outcome, c.Title, c.File, casesFolder, c.File)
	if c.Old != nil {
		if err := writeObjects(b, "The object as it was", *c.Old); err != nil {
			return fmt.Errorf("%s: %w", c.File, err)
		}
	}
	if err := writeObjects(b, what(c), c.Object); err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	if findings := slices.Concat(c.Expect.Denied, c.Expect.Warned); len(findings) > 0 {
		b.WriteString("\nWhat meshfence says:\n\n```text\n")
		for _, f := range findings {
			b.WriteString(wrap(f, width) + "\n")
		}
		b.WriteString("```\n")
	}
	fmt.Fprintf(b, "\nThe FenceConfig:\n\n```yaml\n%s\n```\n", bytes.TrimSpace(c.Config))
	if err := writeObjects(b, "What exists already", c.Scene...); err != nil {
		return fmt.Errorf("%s: %w", c.File, err)
	}
	return nil
}

// writeObjects writes objects as YAML below a line; nothing where there are none.
func writeObjects(b *bytes.Buffer, line string, objects ...suite.Document) error {
	var documents []string
	for _, o := range objects {
		text, err := yaml.JSONToYAML(o.JSON)
		if err != nil {
			return err
		}
		documents = append(documents, string(text))
	}
	if len(documents) > 0 {
		fmt.Fprintf(b, "\n%s:\n\n```yaml\n%s```\n", line, strings.Join(documents, "---\n"))
	}
	return nil
}

// what says what is done with the object of a case.
func what(c suite.Case) string {
	who := "Somebody"
	if c.Writer != "" {
		who = "User `" + c.Writer + "`"
	}
	switch {
	case c.Operation == suite.Audit:
		return "The object, which exists and which the audit finds"
	case c.Deleted():
		return who + " deletes"
	case c.Old != nil:
		return who + " changes it to"
	}
	return who + " applies"
}
