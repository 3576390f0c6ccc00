// Package metric holds the metrics of the parts of the controller.
package metric
