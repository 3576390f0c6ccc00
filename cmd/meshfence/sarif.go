package main

import (
	"fmt"
	"io"

	"github.com/owenrumney/go-sarif/v3/pkg/report"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"

	"github.com/meshfence/meshfence/policy/leak"
)

// repository is where the program and its pages are.
const repository = "https://github.com/meshfence/meshfence"

// writeSARIF writes the findings for code hosts. A place is a file and an object in it.
func writeSARIF(out io.Writer, findings []located) error {
	run := sarif.NewRunWithInformationURI("meshfence", repository)
	for _, r := range leak.Rules() {
		run.AddRule(r.ID).WithHelpURI(rulePage(r.ID)).WithShortDescription(sarif.NewMultiformatMessageString().WithText(r.Summary))
	}
	for _, f := range findings {
		level := "error"
		if f.Severity == leak.Warn {
			level = "warning"
		}
		place := sarif.NewLocation().
			WithPhysicalLocation(sarif.NewPhysicalLocation().WithArtifactLocation(sarif.NewSimpleArtifactLocation(f.File)).
				WithRegion(sarif.NewSimpleRegion(f.Line, f.Line))).
			AddLogicalLocation(sarif.NewLogicalLocation().WithFullyQualifiedName(fmt.Sprintf("%s %s/%s %s", f.Kind, f.Namespace, f.Name, f.Field)))
		run.CreateResultForRule(f.Rule).WithLevel(level).WithMessage(sarif.NewTextMessage(f.Field + ": " + f.Message)).AddLocation(place)
	}
	log := report.NewV210Report()
	log.AddRun(run)
	return log.PrettyWrite(out)
}
