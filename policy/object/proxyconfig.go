package object

// ProxyConfig is the part of a networking.istio.io ProxyConfig that is read.
type ProxyConfig struct {
	// EnvironmentVariables are those of the proxies that the injector adds to Pods.
	EnvironmentVariables map[string]string `json:"environmentVariables"`
}
