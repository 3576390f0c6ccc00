package hostname_test

import (
	"testing"

	"github.com/meshfence/meshfence/policy/hostname"
)

func TestAddress(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"10.0.0.1": "10.0.0.1", "::ffff:10.0.0.1": "10.0.0.1", "2001:db8::1": "2001:db8::1", "[2001:db8::1]": "2001:db8::1", "fe80::1%eth0": "fe80::1",
		"10.0.0.0/8": "", "10.0.0": "", "010.0.0.1": "", "reviews": "", "": "", "*": "",
	} {
		got, ok := hostname.Address(host)
		if ok != (want != "") || ok && got.String() != want || hostname.IsAddress(host) != ok {
			t.Errorf("Address(%q) = %v, %t, want %q", host, got, ok, want)
		}
	}
}
