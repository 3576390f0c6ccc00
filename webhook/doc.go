// Package webhook is the admission transport: it reads reviews, asks package admit, and answers with a patch, a refusal or
// warnings.
package webhook
