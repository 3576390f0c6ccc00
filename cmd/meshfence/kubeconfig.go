package main

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// kubeconfig finds the API server as kubectl does, or as a Pod does where there is no kubeconfig.
type kubeconfig struct {
	path, context string
}

func (k *kubeconfig) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&k.path, "kubeconfig", "", "path of the kubeconfig file")
	flags.StringVar(&k.context, "context", "", "context of the kubeconfig file")
}

func (k *kubeconfig) load() (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = k.path
	overrides := &clientcmd.ConfigOverrides{CurrentContext: k.context}
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("find the API server: %w", err)
	}
	config.UserAgent = thisBuild().userAgent()
	// As kubectl has it: client-go's own limit of five a second is for controllers that never end.
	config.QPS, config.Burst = 50, 300
	return config, nil
}
