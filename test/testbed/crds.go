package testbed

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// installCRDs creates the CustomResourceDefinitions of files and folders and waits until the API server serves them.
// It does not run kubectl, which takes three times as long.
func (c *Cluster) installCRDs(ctx context.Context, paths []string) error {
	client, err := clientset.NewForConfig(c.Config())
	if err != nil {
		return err
	}
	definitions := client.ApiextensionsV1().CustomResourceDefinitions()
	var names []string
	for _, path := range paths {
		crds, err := readCRDs(path)
		if err != nil {
			return err
		}
		for _, crd := range crds {
			if _, err := definitions.Create(ctx, &crd, metav1.CreateOptions{}); err != nil {
				return fmt.Errorf("create CustomResourceDefinition %s: %w", crd.Name, err)
			}
			names = append(names, crd.Name)
		}
	}
	return Eventually(ctx, readyWithin, func(ctx context.Context) error {
		for _, name := range names {
			crd, err := definitions.Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if !established(crd) {
				return fmt.Errorf("CustomResourceDefinition %s is not established: %v", name, crd.Status.Conditions)
			}
		}
		return nil
	})
}

func established(crd *apiextensionsv1.CustomResourceDefinition) bool {
	for _, condition := range crd.Status.Conditions {
		if condition.Type == apiextensionsv1.Established {
			return condition.Status == apiextensionsv1.ConditionTrue
		}
	}
	return false
}

// readCRDs reads a YAML file of many documents, or every one in a folder.
func readCRDs(path string) ([]apiextensionsv1.CustomResourceDefinition, error) {
	var crds []apiextensionsv1.CustomResourceDefinition
	err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || (file != path && filepath.Ext(file) != ".yaml") {
			return err
		}
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
		for {
			document, err := documents.Read()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("read %s: %w", file, err)
			}
			var crd apiextensionsv1.CustomResourceDefinition
			if err := yaml.Unmarshal(document, &crd); err != nil {
				return fmt.Errorf("decode %s: %w", file, err)
			}
			if crd.Kind == "CustomResourceDefinition" {
				crds = append(crds, crd)
			}
		}
	})
	return crds, err
}
