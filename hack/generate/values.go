package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
)

const (
	valuesFile   = "charts/meshfence/values.yaml"
	schemaFile   = "charts/meshfence/values.schema.json"
	valuesHeader = "# Made from values.schema.json by make generate.\n"
)

// schema is what is read of the JSON schema of a value. The properties are kept as they are for their order.
type schema struct {
	Description string
	Default     yaml.Node
	Properties  yaml.Node
}

// values makes the file of values, each with its default and, as a comment, its description.
func values() ([]byte, error) {
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		return nil, err
	}
	var root schema
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("%s: %w", schemaFile, err)
	}
	var out bytes.Buffer
	out.WriteString(valuesHeader)
	if err := writeProperties(&out, root, ""); err != nil {
		return nil, fmt.Errorf("%s: %w", schemaFile, err)
	}
	return out.Bytes(), nil
}

func writeProperties(out *bytes.Buffer, of schema, indent string) error {
	for i := 0; i+1 < len(of.Properties.Content); i += 2 {
		name := of.Properties.Content[i].Value
		var s schema
		if err := of.Properties.Content[i+1].Decode(&s); err != nil {
			return err
		}
		if s.Description == "" || s.Default.IsZero() == s.Properties.IsZero() {
			return fmt.Errorf("%s must have a description, and either a default or properties", name)
		}
		for line := range strings.Lines(wrap(s.Description, width-len(indent+"# "))) {
			fmt.Fprintf(out, "%s# %s\n", indent, strings.TrimSpace(line))
		}
		if !s.Properties.IsZero() {
			fmt.Fprintf(out, "%s%s:\n", indent, name)
			if err := writeProperties(out, s, indent+"  "); err != nil {
				return err
			}
			continue
		}
		value, err := yaml.Marshal(&s.Default)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s%s: %s\n", indent, name, strings.TrimSpace(string(value)))
	}
	return nil
}
