package certificate_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestObserve: what is mounted says when it ends, once it is there, and so does its CA; the webhook configurations are
// somebody else's.
func TestObserve(t *testing.T) {
	t.Parallel()
	m := newMounted(t)
	synctest.Test(t, func(t *testing.T) {
		registry := prometheus.NewRegistry()
		if err := m.Observe(registry); err != nil {
			t.Fatal(err)
		}
		startSource(t, m)
		serving, ca := time.Now().Add(24*time.Hour), time.Now().Add(240*time.Hour)
		if n, err := testutil.GatherAndCount(registry); n != 0 || err != nil {
			t.Errorf("%d series without a certificate, %v", n, err)
		}
		m.write(t, newCA(t, "serving", time.Now(), serving))
		m.writeFile(t, "ca.crt", newCA(t, "ca", time.Now(), ca).PEM())
		time.Sleep(11 * time.Second)
		want := fmt.Sprintf(`# HELP meshfence_certificate_expiry_timestamp_seconds When the certificate that this replica serves ends, or the CA that signs it.
# TYPE meshfence_certificate_expiry_timestamp_seconds gauge
meshfence_certificate_expiry_timestamp_seconds{certificate="ca"} %d
meshfence_certificate_expiry_timestamp_seconds{certificate="serving"} %d
`, ca.Unix(), serving.Unix())
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want)); err != nil {
			t.Error(err)
		}
	})
}
