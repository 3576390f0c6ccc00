// Package uninstall takes meshfence out of a cluster: what admission and the controller put into the objects of users, and
// the webhook configurations. What is there is observed, a Planner says what to do about each object, and it is done.
//
// First nobody is called any more and nobody writes: a webhook that fails closed must not refuse while its replicas end,
// and no replica must put back what is taken out. From then on every object is as it was or as it will be, whatever
// the moment, and routes leave a subset before it goes. What is left to do shows in the objects alone, so that a run
// that was cut short is simply repeated.
package uninstall
