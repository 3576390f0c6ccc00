// Package contest tells when somebody else keeps changing what is written, and how long to wait then, so that two
// writers who do not agree come to rest. It has no clock: the time comes in as an argument.
package contest
