package search

import (
	"fmt"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// Case prints a leak in the format of test/conformance/testdata: the words of a scene are in the place of names and
// addresses. Its row and its neighbour are left to write.
func (f Found) Case() (string, error) {
	base := f.World.Base
	var before, leak []any
	for n := range base.Services {
		for _, cluster := range []string{near, far} {
			service := toObject(base.service(cluster, n))
			delete(service.spec(), "clusterIP")
			delete(service.spec(), "clusterIPs")
			delete(service, "status")
			if cluster == far {
				annotations, _ := service.metadata()["annotations"].(map[string]any)
				if annotations == nil {
					annotations = map[string]any{}
				}
				annotations["conformance/cluster"] = far
				service.metadata()["annotations"] = annotations
			}
			before = append(before, map[string]any(service))
		}
	}
	for _, s := range f.World.Steps {
		o := s.Object.clone()
		switch {
		case s.Status:
			annotate(o, "conformance/sub", "status")
		case s.Delete:
			annotate(o, "conformance/deleted", "true")
		}
		leak = append(leak, map[string]any(o))
	}
	data, err := yaml.Marshal(map[string]any{"row": "", "from": "web", "before": before, "leak": leak, "neighbour": []any{}})
	if err != nil {
		return "", fmt.Errorf("print case: %w", err)
	}
	return "# " + strings.TrimSpace(f.Summary()) + "\n" + inWords(string(data)), nil
}

func annotate(o Object, key, value string) {
	annotations, _ := o.metadata()["annotations"].(map[string]any)
	if annotations == nil {
		annotations = map[string]any{}
		o.metadata()["annotations"] = annotations
	}
	annotations[key] = value
}

// inWords puts the words of a scene in the place of what a base says.
func inWords(text string) string {
	for _, of := range []struct{ value, word string }{
		{"reviews.shop.svc." + domain, "$$HOST"}, {"shop", "$$NAMESPACE"}, {"web", "$$CALLERS"}, {"app", "$$CALLERS"},
		{"10.96.0.5", "$$CLUSTER_IP"}, {foreignIP, "$$FOREIGN_ADDRESS"}, {podIP(near, 0), "$$POD"}, {podIP(far, 0), "$$FOREIGN_POD"},
	} {
		expression := `\b` + regexp.QuoteMeta(of.value) + `\b`
		if of.value == "web" || of.value == "app" || of.value == "shop" { // as a namespace, and not as a label
			expression = `(namespace: |[ "'.]|- )` + of.value + `([/."'\n]|$)`
			text = regexp.MustCompile(expression).ReplaceAllString(text, "${1}"+of.word+"${2}")
			continue
		}
		text = regexp.MustCompile(expression).ReplaceAllString(text, of.word)
	}
	return text
}
