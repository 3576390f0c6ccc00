// Package jsonview reads JSON into views: small structs that name only what is read. What is ordinary it reads by itself,
// and leaves everything else to the Go JSON working group's decoder, whose answers are the ones that count.
package jsonview
