package meshfence

import (
	"embed"
	"strings"
)

//go:embed go.mod
var goMod string

// istioModule is the module whose version is that of the Istio release which meshfence is built and tested for.
const istioModule = "istio.io/api"

// IstioVersion returns the Istio release that meshfence is built and tested for, for example 1.31.1. It comes from
// go.mod and not from the build info, where nothing of Istio is linked.
func IstioVersion() string {
	for line := range strings.Lines(goMod) {
		if fields := strings.Fields(line); len(fields) >= 2 && fields[0] == istioModule {
			return strings.TrimPrefix(fields[1], "v")
		}
	}
	return ""
}

//go:embed docs/rules/*.md
var rulePages embed.FS

// RulePage returns the page of a rule, in Markdown; empty where no rule has that id.
func RulePage(id string) string {
	page, err := rulePages.ReadFile("docs/rules/" + id + ".md")
	if err != nil {
		return ""
	}
	return string(page)
}
