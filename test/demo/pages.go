package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/meshfence/meshfence/test/testbed"
)

// calls is how often each page is called; perBlock of them are one block of a bar.
const (
	calls    = 40
	perBlock = 2
)

// unavailable is what gRPC says where there is nothing to call.
const unavailable = "Unavailable"

// pages calls both pages until who answers for reviews is as expected, and shows it as bars.
func (s *script) pages(ctx context.Context, want expectation) error {
	started := time.Now()
	lines := make([]string, 0, len(want))
	for _, path := range slices.Sorted(maps.Keys(want)) {
		request := testbed.Request{Service: "productpage.default.svc.cluster.local", Path: path}
		records, err := s.bookinfo.Gateway.Until(ctx, request, calls, func(records testbed.Records) error {
			return check(path, records, want[path])
		})
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		lines = append(lines, path+"  "+s.bars(records.PartSources("reviews")))
	}
	s.say("after %s:", time.Since(started).Round(10*time.Millisecond))
	for _, line := range lines {
		s.say("  %s", line)
	}
	return nil
}

// check compares pages with what they must show: each is of its own cluster, has details, and has stars exactly where
// reviews of m1c2 answered; reviews came from everybody expected and from nobody else.
func check(path string, records testbed.Records, want []string) error {
	cluster := map[string]string{"/productpage1": m1c1, "/productpage2": m1c2}[path]
	for _, record := range records {
		page := record.Answer
		if page.Cluster != cluster {
			return fmt.Errorf("the page must be of %s: %w", cluster, cmp.Or(record.Err, errors.New("it is of "+page.Cluster)))
		}
		if details := page.Part("details"); details.Error != "" {
			return fmt.Errorf("no details: %s", details.Error)
		}
		reviews := page.Part("reviews")
		if stars := reviews.Part("ratings").Error == ""; stars != (reviews.Cluster == m1c2) {
			return fmt.Errorf("reviews of %s: stars are %t", reviews.Source(), stars)
		}
	}
	counts := records.PartSources("reviews")
	if !slices.Equal(slices.Sorted(maps.Keys(counts)), slices.Sorted(slices.Values(want))) {
		return fmt.Errorf("reviews must come from %v, not %v", want, counts)
	}
	for _, count := range counts {
		if count < calls/len(want)/2 {
			return fmt.Errorf("reviews must come from %v about equally, not %v", want, counts) // still on its way
		}
	}
	return nil
}

// bars shows counts, the clusters before failures.
func (s *script) bars(counts map[string]int) string {
	var parts []string
	for _, source := range []string{m1c1, m1c2, unavailable} {
		count, ok := counts[source]
		if !ok {
			continue
		}
		name, style, block := source, green, "█"
		switch source {
		case m1c2:
			name, style = "★ m1c2", yellow
		case unavailable:
			name, style, block = "no reviews", red, "░"
		}
		bar := strings.Repeat(block, max(1, count/perBlock))
		parts = append(parts, fmt.Sprintf("%s %s %d", name, s.paint(style, bar), count))
	}
	return strings.Join(parts, "   ")
}
