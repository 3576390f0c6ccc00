package main

import (
	"io"
	"net/url"
	"path/filepath"
	"slices"

	"github.com/meshfence/meshfence/policy/leak"
)

// homepage is where the repository is, and its documentation.
const homepage = "https://github.com/meshfence/meshfence"

// The part of SARIF 2.1.0 that is written
// (https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html).
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool    sarifTool     `json:"tool"`
		Results []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		Version        string      `json:"version"`
		InformationURI string      `json:"informationUri"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID                   string             `json:"id"`
		ShortDescription     sarifText          `json:"shortDescription"`
		Help                 sarifText          `json:"help"`
		HelpURI              string             `json:"helpUri"`
		DefaultConfiguration sarifConfiguration `json:"defaultConfiguration"`
	}
	sarifConfiguration struct {
		Level string `json:"level"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifText       `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		PhysicalLocation sarifPhysical  `json:"physicalLocation"`
		LogicalLocations []sarifLogical `json:"logicalLocations"`
	}
	sarifPhysical struct {
		ArtifactLocation sarifArtifact `json:"artifactLocation"`
		Region           sarifRegion   `json:"region"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine int `json:"startLine"`
	}
	sarifLogical struct {
		FullyQualifiedName string `json:"fullyQualifiedName"`
	}
)

// writeSARIF writes the findings for code hosts.
func writeSARIF(out io.Writer, findings []located) error {
	rules := leak.Rules()
	run := sarifRun{Tool: sarifTool{sarifDriver{Name: "meshfence", Version: thisBuild().Version, InformationURI: homepage}}, Results: []sarifResult{}}
	for _, r := range rules {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{
			ID:                   r.ID,
			ShortDescription:     sarifText{r.Summary},
			Help:                 sarifText{r.Why + " " + r.Fix},
			HelpURI:              rulePage(r.ID),
			DefaultConfiguration: sarifConfiguration{sarifLevel(r.Severity == leak.Deny)},
		})
	}
	for _, f := range findings {
		run.Results = append(run.Results, sarifResult{
			RuleID:    f.Rule,
			RuleIndex: slices.IndexFunc(rules, func(r leak.Rule) bool { return r.ID == f.Rule }),
			Level:     sarifLevel(f.denies()),
			Message:   sarifText{f.Field() + ": " + f.Message()},
			Locations: []sarifLocation{{
				PhysicalLocation: sarifPhysical{sarifArtifact{(&url.URL{Path: filepath.ToSlash(f.File)}).String()}, sarifRegion{f.Line}},
				LogicalLocations: []sarifLogical{{f.Object.String() + " " + f.Field()}},
			}},
		})
	}
	return encode(out, sarifLog{"https://json.schemastore.org/sarif-2.1.0.json", "2.1.0", []sarifRun{run}})
}

func sarifLevel(denies bool) string {
	if denies {
		return "error"
	}
	return "warning"
}
