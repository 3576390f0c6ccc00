// Package certificate gives the webhook server its certificate and keeps the CA bundle of the webhook configurations: signed
// by a CA of meshfence's own in a Secret, or mounted, such as from cert-manager.
package certificate
