// Package policy decides which Services are fenced, and knows nothing of how an object reaches it or
// where an answer goes: no client, no clock, no log, no I/O.
//
// A [Config] is a validated FenceConfig. An [Index] joins it with the Namespaces and Services of the
// cluster and answers what a host name, exact or wildcard, stands for. The packages below it use these
// answers: inject edits objects so that the active holds are true for them, leak finds what would still
// let traffic out.
package policy
