// Package install makes the manifests of an installation for the mesh that it finds, and applies them.
package install
