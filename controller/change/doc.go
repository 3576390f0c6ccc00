// Package change collects what has changed until a part of the controller takes it, and waits for the next change.
package change
