package hostname

import "strings"

// ServerName returns the host that a TLS connection between clusters is for, by the server name that the sidecar gives
// it: outbound_.<port>_.<subset>_.<host> (BuildDNSSrvSubsetKey in Istio's pilot/pkg/model/service.go).
func ServerName(sni string) (host string, ok bool) {
	parts := strings.SplitN(strings.ToLower(sni), "_.", 4)
	if len(parts) < 4 || parts[0] != "outbound" {
		return "", false
	}
	return parts[3], true
}
