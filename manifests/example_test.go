package manifests_test

import (
	"fmt"
	"io/fs"

	"github.com/meshfence/meshfence/manifests"
)

// The binary carries what it installs: the base, components, overlays, and a FenceConfig to start from.
func Example() {
	entries, err := fs.ReadDir(manifests.Files(), ".")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, entry := range entries {
		fmt.Println(entry.Name())
	}
	// Output:
	// base
	// components
	// example
	// overlays
}
