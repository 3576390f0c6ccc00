package manifests

import (
	"embed"
	"io/fs"
)

//go:embed base components overlays example
var files embed.FS

// Files returns the folders beside this file.
func Files() fs.FS { return files }
