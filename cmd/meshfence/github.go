package main

import (
	"fmt"
	"io"
	"strings"
)

// writeGitHub writes a workflow command for each finding, which GitHub Actions shows beside its line.
func writeGitHub(out io.Writer, findings []located) error {
	property := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
	message := strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	for _, f := range findings {
		level := "error"
		if !f.denies() {
			level = "warning"
		}
		_, err := fmt.Fprintf(out, "::%s file=%s,line=%d,title=%s::%s\n", level, property.Replace(f.File), f.Line, property.Replace(f.Rule), message.Replace(f.about()))
		if err != nil {
			return err
		}
	}
	return nil
}
