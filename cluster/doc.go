// Package cluster asks the API server of a cluster what the index does not hold, for admission and for the controller.
package cluster
