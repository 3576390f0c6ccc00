package main

import (
	"math"
	"testing"
)

func TestBytesInFlight(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ limit, want int64 }{
		"no limit":                  {math.MaxInt64, 64 << 20},
		"the limit of the manifest": {512 << 20 * 9 / 10, 512 << 20 * 9 / 10 / 64},
		"hardly any":                {64 << 20, 4 << 20},
	} {
		if got := bytesInFlight(test.limit); got != test.want {
			t.Errorf("%s: %d bytes in flight, want %d", name, got, test.want)
		}
	}
}
