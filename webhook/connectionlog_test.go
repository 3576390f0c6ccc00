package webhook_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"

	"github.com/meshfence/meshfence/webhook"
)

// TestConnectionLog: of what knocks, a line a minute of each level says how many more there were.
func TestConnectionLog(t *testing.T) {
	t.Parallel()
	const from = "http: TLS handshake error from 10.0.0.1:4000: "
	garbage := from + "tls: first record does not look like a TLS handshake"
	type step struct {
		line   string
		repeat int
		after  time.Duration
	}
	for name, test := range map[string]struct {
		steps []step
		want  []string
	}{
		"garbage":                  {[]step{{garbage, 1, 0}}, []string{"INFO 0 " + garbage}},
		"much of it":               {[]step{{garbage, 500, 0}}, []string{"INFO 0 " + garbage}},
		"still after a minute":     {[]step{{garbage, 500, 0}, {garbage, 2, time.Minute}}, []string{"INFO 0 " + garbage, "INFO 499 " + garbage}},
		"a client without our CA":  {[]step{{garbage, 9, 0}, {from + "remote error: tls: bad certificate", 3, 0}}, []string{"INFO 0 " + garbage, "WARN 0 " + from + "remote error: tls: bad certificate"}},
		"another CA's client":      {[]step{{from + "tls: failed to verify certificate: x509: certificate signed by unknown authority", 1, 0}}, []string{"WARN 0 " + from + "tls: failed to verify certificate: x509: certificate signed by unknown authority"}},
		"no client certificate":    {[]step{{from + "tls: client didn't provide a certificate", 2, 0}}, []string{"WARN 0 " + from + "tls: client didn't provide a certificate"}},
		"a look at the port":       {[]step{{from + "EOF", 1, 0}}, []string{"DEBUG 0 " + from + "EOF"}},
		"a panic, whatever passes": {[]step{{"http: panic serving 10.0.0.1:4000: no", 2, 0}}, []string{"ERROR 0 http: panic serving 10.0.0.1:4000: no", "ERROR 0 http: panic serving 10.0.0.1:4000: no"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				handler := slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
					if a.Key == slog.TimeKey {
						return slog.Attr{}
					}
					return a
				}})
				log := webhook.NewConnectionLog(logr.FromSlogHandler(handler))
				for _, s := range test.steps {
					time.Sleep(s.after)
					for range s.repeat {
						fmt.Fprintln(log, s.line)
					}
				}
				var got []string
				for line := range strings.Lines(out.String()) {
					level, rest, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "level=")), " msg=")
					message, more, _ := strings.Cut(rest, " more=")
					got = append(got, level+" "+more+" "+strings.Trim(message, `"`))
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("log (-want +got):\n%s", diff)
				}
			})
		})
	}
}
