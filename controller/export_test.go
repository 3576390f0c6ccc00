package controller

import "sigs.k8s.io/controller-runtime/pkg/client"

// ErrYields is the error of a write of a replica that yields.
var ErrYields = errYields

// Yielding returns a client that writes nothing while its replica yields.
func Yielding(c client.Client, yields func() bool) client.Client { return yielding{c, yields} }
