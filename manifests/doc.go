// Package manifests holds the manifests of this version, so that the binary installs what it was built with.
package manifests
