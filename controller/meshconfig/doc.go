// Package meshconfig keeps the serviceSettings of the mesh ConfigMaps equal to the scope: hold meshConfig.
package meshconfig
