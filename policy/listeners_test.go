package policy_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy/object"
)

func TestExported(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		list   []string
		client string
		want   bool
	}{
		"no list":               {nil, "app", true},
		"no list, any client":   {nil, "", true},
		"everybody":             {[]string{"app", "*"}, "web", true},
		"everybody, any client": {[]string{"*"}, "", true},
		"its own":               {[]string{"."}, "shop", true},
		"its own, elsewhere":    {[]string{"."}, "app", false},
		"its own, any client":   {[]string{"."}, "", false},
		"by name":               {[]string{".", "app"}, "app", true},
		"another name":          {[]string{"app"}, "shop", false},
		"nobody":                {[]string{"~"}, "shop", false},
		"nobody after all":      {[]string{"~", "app", "."}, "app", false},
	} {
		if got := object.Exported(test.list, "shop", test.client); got != test.want {
			t.Errorf("%s: %t, want %t", name, got, test.want)
		}
	}
}

func TestTransport(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		port object.ServicePort
		want object.Transport
	}{
		"no name":                 {object.ServicePort{Port: 80}, object.TransportAuto},
		"unknown name":            {object.ServicePort{Port: 80, Name: "web"}, object.TransportAuto},
		"HTTP":                    {object.ServicePort{Port: 80, Name: "http"}, object.TransportHTTP},
		"HTTP with more":          {object.ServicePort{Port: 80, Name: "http2-web"}, object.TransportHTTP},
		"upper case":              {object.ServicePort{Port: 80, Name: "GRPC-web"}, object.TransportHTTP},
		"a name that starts like": {object.ServicePort{Port: 80, Name: "httpweb"}, object.TransportAuto},
		"TLS":                     {object.ServicePort{Port: 443, Name: "https"}, object.TransportTLS},
		"MySQL":                   {object.ServicePort{Port: 80, Name: "mysql"}, object.TransportAlone},
		"a well-known port":       {object.ServicePort{Port: 3306, Name: "db"}, object.TransportTCP},
		"UDP":                     {object.ServicePort{Port: 53, Name: "http", Protocol: "UDP"}, object.TransportNone},
		"another protocol":        {object.ServicePort{Port: 80, Name: "http", AppProtocol: new("tcp")}, object.TransportTCP},
		"HTTP of Kubernetes":      {object.ServicePort{Port: 80, Name: "tcp", AppProtocol: new("kubernetes.io/ws")}, object.TransportHTTP},
		"TLS of Kubernetes":       {object.ServicePort{Port: 80, AppProtocol: new("kubernetes.io/wss")}, object.TransportTLS},
	} {
		if got := test.port.Transport(); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}
