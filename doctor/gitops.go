package doctor

import (
	"fmt"
	"strings"
)

// namedDrifted is how many objects a result names.
const namedDrifted = 3

func checkGitOps(o Observation) []Result {
	if o.GitOps.Err != nil {
		return unknown(o.GitOps.Err)
	}
	drifted := o.GitOps.Value.Drifted
	if len(drifted) == 0 {
		return ok("none")
	}
	text := strings.Join(drifted[:min(len(drifted), namedDrifted)], ", ")
	if more := len(drifted) - namedDrifted; more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	says := "Argo CD shows as OutOfSync, for what admission adds"
	if !o.GitOps.Value.Judged {
		says = "Argo CD, whose Applications are not seen here, shows as OutOfSync for what admission adds, unless it compares on the server or ignores it"
	}
	return []Result{warning(fmt.Sprintf("%s: %s", says, text),
		"annotate the Applications with argocd.argoproj.io/compare-options: ServerSideDiff=true; docs/gitops.md, section Argo CD, has other ways")}
}
