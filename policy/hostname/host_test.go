package hostname_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/meshfence/meshfence/policy/hostname"
)

// The expectations are those of ResolveShortnameToFQDN in Istio's pilot/pkg/model/config.go.
func TestResolve(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ host, domain, want string }{
		"short":                     {"reviews", "cluster.local", "reviews.prod.svc.cluster.local"},
		"short in another domain":   {"reviews", "k8s.example", "reviews.prod.svc.k8s.example"},
		"FQDN":                      {"reviews.shop.svc.cluster.local", "cluster.local", "reviews.shop.svc.cluster.local"},
		"FQDN of another domain":    {"reviews.shop.svc.cluster.local", "k8s.example", "reviews.shop.svc.cluster.local"},
		"with a namespace":          {"reviews.prod", "cluster.local", "reviews.prod"},
		"with a namespace and svc":  {"reviews.prod.svc", "cluster.local", "reviews.prod.svc"},
		"closing dot":               {"reviews.", "cluster.local", "reviews."},
		"star":                      {"*", "cluster.local", "*"},
		"wildcard":                  {"*.prod.svc.cluster.local", "cluster.local", "*.prod.svc.cluster.local"},
		"short wildcard":            {"*-db", "cluster.local", "*-db.prod.svc.cluster.local"},
		"IPv4":                      {"10.0.0.1", "cluster.local", "10.0.0.1"},
		"IPv6":                      {"2001:db8::1", "cluster.local", "2001:db8::1"},
		"IPv6 with a zone":          {"fe80::1%eth0", "cluster.local", "fe80::1%eth0"},
		"a colon, but not IPv6":     {"reviews:80", "cluster.local", "reviews:80.prod.svc.cluster.local"},
		"empty":                     {"", "cluster.local", ""},
		"upper case":                {"Reviews", "cluster.local", "Reviews.prod.svc.cluster.local"},
		"outside of the cluster":    {"example.com", "cluster.local", "example.com"},
		"short, of one digit":       {"1", "cluster.local", "1.prod.svc.cluster.local"},
		"with a path":               {"a/b", "cluster.local", "a/b.prod.svc.cluster.local"},
		"FQDN with the closing dot": {"reviews.prod.svc.cluster.local.", "cluster.local", "reviews.prod.svc.cluster.local."},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := hostname.Resolve(tc.host, "prod", tc.domain); got != tc.want {
				t.Errorf("Resolve(%q) = %q, want %q", tc.host, got, tc.want)
			}
		})
	}
}

func TestParseHost(t *testing.T) {
	t.Parallel()
	reviews := hostname.Host{Namespace: "prod", Name: "reviews"}
	tests := map[string]struct {
		fqdn, domain string
		want         hostname.Host // the zero Host: not one
	}{
		"FQDN":                    {"reviews.prod.svc.cluster.local", "cluster.local", reviews},
		"custom domain":           {"reviews.prod.svc.k8s.example", "k8s.example", reviews},
		"digits and dashes":       {"0-a.1-b.svc.cluster.local", "cluster.local", hostname.Host{Namespace: "1-b", Name: "0-a"}},
		"namespace svc":           {"reviews.svc.svc.cluster.local", "cluster.local", hostname.Host{Namespace: "svc", Name: "reviews"}},
		"another domain":          {"reviews.prod.svc.cluster.local", "k8s.example", hostname.Host{}},
		"another cluster set":     {"reviews.prod.svc.clusterset.local", "cluster.local", hostname.Host{}},
		"domain as a suffix only": {"reviews.prod.svc.my-cluster.local", "cluster.local", hostname.Host{}},
		"with a namespace":        {"reviews.prod", "cluster.local", hostname.Host{}},
		"without a namespace":     {"reviews.svc.cluster.local", "cluster.local", hostname.Host{}},
		"a pod of it":             {"reviews-0.reviews.prod.svc.cluster.local", "cluster.local", hostname.Host{}},
		"no name":                 {".prod.svc.cluster.local", "cluster.local", hostname.Host{}},
		"no namespace":            {"reviews..svc.cluster.local", "cluster.local", hostname.Host{}},
		"wildcard":                {"*.prod.svc.cluster.local", "cluster.local", hostname.Host{}},
		"wildcard inside":         {"re*.prod.svc.cluster.local", "cluster.local", hostname.Host{}},
		"path":                    {"a/../b.prod.svc.cluster.local", "cluster.local", hostname.Host{}},
		"upper case":              {"Reviews.prod.svc.cluster.local", "cluster.local", hostname.Host{}},
		"underscore":              {"a_b.prod.svc.cluster.local", "cluster.local", hostname.Host{}},
		"too long":                {strings.Repeat("a", 64) + ".prod.svc.cluster.local", "cluster.local", hostname.Host{}},
		"only the suffix":         {".svc.cluster.local", "cluster.local", hostname.Host{}},
		"empty":                   {"", "cluster.local", hostname.Host{}},
		"IP":                      {"10.0.0.1", "cluster.local", hostname.Host{}},
		"closing dot":             {"reviews.prod.svc.cluster.local.", "cluster.local", hostname.Host{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := hostname.Parse(tc.fqdn, tc.domain)
			if got != tc.want || ok != (tc.want != hostname.Host{}) {
				t.Errorf("ParseHost(%q) = %+v, %t, want %+v", tc.fqdn, got, ok, tc.want)
			}
			if ok && got.FQDN(tc.domain) != tc.fqdn {
				t.Errorf("FQDN() = %q, want %q", got.FQDN(tc.domain), tc.fqdn)
			}
		})
	}
}

// FuzzHost: what ParseHost takes apart, FQDN puts together again, and Resolve changes nothing the second
// time.
func FuzzHost(f *testing.F) {
	for _, host := range []string{"reviews", "reviews.prod", "reviews.prod.svc.cluster.local", "*", "*-db", "::1", "10.0.0.1", "", "."} {
		f.Add(host, "prod", "cluster.local")
	}
	f.Fuzz(func(t *testing.T, host, namespace, domain string) {
		fqdn := hostname.Resolve(host, namespace, domain)
		if again := hostname.Resolve(fqdn, "other", domain); again != fqdn {
			t.Errorf("Resolve(%q) = %q, and then %q", host, fqdn, again)
		}
		for _, name := range []string{host, fqdn} {
			h, ok := hostname.Parse(name, domain)
			if ok && h.FQDN(domain) != name {
				t.Errorf("ParseHost(%q) = %+v, whose FQDN is %q", name, h, h.FQDN(domain))
			}
			if !ok && h != (hostname.Host{}) {
				t.Errorf("ParseHost(%q) = %+v, false", name, h)
			}
		}
		if h, ok := hostname.Parse(fqdn, domain); ok && fqdn != host && h.Namespace != namespace {
			t.Errorf("Resolve(%q, %q) lies in %q", host, namespace, h.Namespace)
		}
	})
}

// TestParseHostTakesLabels: the parts of a host are what Kubernetes calls a DNS label.
func TestParseHostTakesLabels(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", validation.DNS1123LabelMaxLength)
	labels := []string{"", "-", "a-", "-a", "a-b", long, long + "a", "é"}
	for c := range 256 {
		labels = append(labels, string([]byte{byte(c)}), string([]byte{'a', byte(c), 'a'}))
	}
	for _, label := range labels {
		if strings.Contains(label, ".") {
			continue // two labels
		}
		want := len(validation.IsDNS1123Label(label)) == 0
		if _, ok := hostname.Parse("a."+label+".svc.cluster.local", "cluster.local"); ok != want {
			t.Errorf("namespace %q: %t, want %t", label, ok, want)
		}
		if _, ok := hostname.Parse(label+".a.svc.cluster.local", "cluster.local"); ok != want {
			t.Errorf("name %q: %t, want %t", label, ok, want)
		}
	}
}
