package main

import (
	"encoding/xml"
	"io"
)

// junitSuite is the root of a JUnit report.
type junitSuite struct {
	XMLName  xml.Name    `xml:"testsuite"`
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

// junitCase is one finding, or one case of a suite. A warning is a case that passes, with a text.
type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Failure *junitFailure `xml:"failure"`
	Output  string        `xml:"system-out,omitempty"`
}

type junitFailure struct {
	Type    string `xml:"type,attr"`
	Message string `xml:"message,attr"`
}

// writeJUnit writes a report with a case for each finding.
func writeJUnit(out io.Writer, findings []located) error {
	suite := junitSuite{Name: "meshfence check", Tests: len(findings)}
	for _, f := range findings {
		text := f.Field() + ": " + f.Message()
		c := junitCase{Class: f.Rule, Name: f.Object.String(), File: f.File, Line: f.Line}
		if !f.denies() {
			c.Output = text
		} else {
			suite.Failures++
			c.Failure = &junitFailure{Type: f.Rule, Message: text}
		}
		suite.Cases = append(suite.Cases, c)
	}
	return suite.write(out)
}

func (s junitSuite) write(out io.Writer) error {
	encoder := xml.NewEncoder(out)
	encoder.Indent("", "  ")
	if _, err := io.WriteString(out, xml.Header); err != nil {
		return err
	}
	if err := encoder.Encode(s); err != nil {
		return err
	}
	_, err := io.WriteString(out, "\n")
	return err
}
