// Package jsonerr says of a JSON text that does not fit a Go type where the wrong value is, and what it must be.
package jsonerr
