// Package manifests holds the manifests of this version, so that the binary installs what it was built with.
package manifests

import (
	"embed"
	"io/fs"
)

//go:embed base components overlays example
var files embed.FS

// Files returns the folders beside this file.
func Files() fs.FS { return files }
