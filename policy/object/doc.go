// Package object has a read-only view of every kind that meshfence reads: the fields that count, decoded from JSON as the
// API server sends it. It knows nothing of fences.
package object
