package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log"

	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/meshfence/meshfence/registry"
	"github.com/meshfence/meshfence/webhook"
)

// clients returns who may call the webhook, nil for everybody.
func (f *serveFlags) clients() (*webhook.ClientCA, error) {
	if f.clientCAFile == "" {
		if len(f.clientNames) > 0 {
			return nil, errors.New("--client-names are nothing without --client-ca-file")
		}
		return nil, nil
	}
	clients, err := webhook.NewClientCA(f.clientCAFile, f.clientNames, ctrl.Log.WithName("webhook"))
	if err != nil {
		return nil, fmt.Errorf("--client-ca-file: %w", err)
	}
	return clients, nil
}

// metricsServer returns how metrics are served.
func (f *serveFlags) metricsServer(configureTLS func(*tls.Config)) metricsserver.Options {
	options := metricsserver.Options{BindAddress: f.metricsAddress}
	if f.metricsAuth {
		options.SecureServing, options.TLSOpts = true, []func(*tls.Config){configureTLS}
		options.FilterProvider = registry.OnlyReaders
		// The server is the library's, and has no log of its own for who knocks with garbage.
		log.SetOutput(webhook.NewConnectionLog(ctrl.Log.WithName("metrics")))
	}
	return options
}
