package webhook_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/meshfence/meshfence/policy/admit"
)

// What is refused because of its many names costs no more than reading it, and not what judging it takes. It is not
// parallel to other tests, which would count.
func TestManyNamesCostLittle(t *testing.T) {
	const (
		names = 20_000
		most  = 24 << 20
	)
	c := serve(t, fenced)
	var hosts strings.Builder
	for i := range names {
		fmt.Fprintf(&hosts, "s%05d, ", i)
	}
	many := request(t, "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: x, namespace: shop}\n"+
		"spec: {hosts: ["+hosts.String()+"], http: [{route: [{destination: {host: example.com}}]}]}\n", "")
	for _, path := range []string{admit.MutatePath, admit.ValidatePath} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		response := c.ask(t, path, many)
		runtime.ReadMemStats(&after)
		if response.Allowed || !strings.Contains(response.Result.Message, "names more than 128") {
			t.Errorf("%s: allowed = %t, result = %+v", path, response.Allowed, response.Result)
		}
		if used := after.TotalAlloc - before.TotalAlloc; used > most {
			t.Errorf("%s takes %d bytes, more than %d", path, used, most)
		}
	}
}
