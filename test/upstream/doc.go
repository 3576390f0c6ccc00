// Package upstream has an object of the upstream type of every kind that has a view, for tests.
package upstream
