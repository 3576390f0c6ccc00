// Package fakecluster holds the objects of a cluster in memory, so that the parts of the controller can be tested without
// an API server. It takes objects into the index as the inventory does, and sends writes through the edits of policy as
// admission does. Only tests import it; what an API server does is tested in test/e2e.
package fakecluster
