// Package companion keeps the companions of Services: the DestinationRule and the VirtualService that make a fence true
// for a Service for which nobody wrote one. What is there is observed, State.Plan says what to write, and it is written.
package companion
