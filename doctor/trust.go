package doctor

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// expiresSoon is how long a CA must last: both ways to get one renew it with months left.
const expiresSoon = 30 * 24 * time.Hour

// servedExpiresSoon is that of a serving certificate: one that lasts a week is renewed with two days left.
const servedExpiresSoon = 24 * time.Hour

// checkTrusted judges every caBundle: that it holds the CA that signs, or else, where that cannot be read, what the API
// server has just verified an answer with.
func checkTrusted(o Observation) []Result {
	if o.Webhooks.Err != nil {
		return unknown(o.Webhooks.Err)
	}
	bundles := map[string][]string{} // webhooks by their bundle
	o.pairs(func(_ string, live, _ *unstructured.Unstructured) {
		for name, e := range entries(live) {
			bundle := e.text("clientConfig", "caBundle")
			bundles[bundle] = append(bundles[bundle], name)
		}
	})
	trusted := o.answering(bundles)
	var results []Result
	var left time.Duration
	for _, bundle := range slices.Sorted(maps.Keys(bundles)) {
		names := "every webhook"
		if len(bundles) > 1 {
			names = sorted(bundles[bundle])
		}
		r, lasts := o.checkBundle(bundle, names, trusted)
		results = append(results, r...)
		if left == 0 || lasts < left {
			left = lasts
		}
	}
	if len(bundles) == 0 {
		return unknown(fmt.Errorf("there is no webhook"))
	}
	wrong, served := o.checkServed()
	return or(append(results, wrong...), "every caBundle holds the CA, which lasts for another %s%s", days(left), served)
}

// checkServed judges how long the certificates last that replicas serve, and says how long the first to end does.
func (o Observation) checkServed() (wrong []Result, lasts string) {
	var first time.Duration
	for _, m := range o.Metrics {
		if m.Served.IsZero() {
			continue
		}
		left := m.Served.Sub(o.Now)
		if left < servedExpiresSoon {
			wrong = append(wrong, warning(fmt.Sprintf("%s serves a certificate that ends at %s, and should have been renewed", m.Pod, m.Served.Format(time.RFC3339)),
				"self-signed: the log of the replica says why it gets no other; cert-manager: see the Certificate, and that the Secret is mounted"))
		}
		if lasts == "" || left < first {
			first, lasts = left, ", and what is served for "+days(left)
		}
	}
	return wrong, lasts
}

// answering returns the bundles with which an answer was verified.
func (o Observation) answering(bundles map[string][]string) map[string]bool {
	verified := map[string]bool{}
	for _, p := range o.Probes {
		for bundle, names := range bundles {
			if p.Reply == Answered && slices.Contains(names, p.Entry) {
				verified[bundle] = true
			}
		}
	}
	return verified
}

// checkBundle returns how long the CA lasts where all is well.
func (o Observation) checkBundle(bundle, names string, verified map[string]bool) ([]Result, time.Duration) {
	const fix = "self-signed: see that a replica leads, its log says why it does not write the CA; cert-manager: see that the cainjector runs, and the annotation cert-manager.io/inject-ca-from"
	certificates := parse(bundle)
	if len(certificates) == 0 {
		return []Result{failed("the caBundle holds no certificate: "+names, fix)}, 0
	}
	signer := certificates
	switch {
	case o.CA.Err == nil:
		signer = decode(o.CA.Value)
		if len(signer) == 0 {
			return []Result{failed("the Secret of the CA holds no certificate", "delete the Secret: it is made anew")}, 0
		}
		if !slices.ContainsFunc(certificates, signer[0].Equal) {
			return []Result{failed("the caBundle does not hold the CA that signs: "+names, fix)}, 0
		}
	case !verified[bundle]:
		return unknown(fmt.Errorf("whether the caBundle of %s is right: %w", names, o.CA.Err)), 0
	}
	switch left := signer[0].NotAfter.Sub(o.Now); {
	case left <= 0:
		return []Result{failed("the CA has expired: "+names, fix)}, 0
	case left < expiresSoon:
		return []Result{warning(fmt.Sprintf("the CA lasts for another %s only, and should have been renewed", days(left)), fix)}, left
	default:
		return nil, left
	}
}

func days(d time.Duration) string { return fmt.Sprintf("%d days", int(d.Hours()/24)) }

// parse returns the certificates of a caBundle as the API server writes it.
func parse(bundle string) []*x509.Certificate {
	data, err := base64.StdEncoding.DecodeString(bundle)
	if err != nil {
		return nil
	}
	return decode(data)
}

func decode(data []byte) []*x509.Certificate {
	var certificates []*x509.Certificate
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			certificates = append(certificates, c)
		}
	}
	return certificates
}
