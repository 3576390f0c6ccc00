// Package reach finds out whether the API server calls the webhooks, and tells when it does not: a configuration that was
// deleted, or that leads nowhere, looks like a quiet cluster from within.
package reach
